/* Uses a wide part of the C header, in the way a request's header `x-do` says; the words are the
 * same for the guests of all languages. */
#define PROXY_WASM_IMPLEMENTATION
#include "proxy_wasm.h"

#define UPSTREAM "outbound|80||callout.test"
#define GRPC "callout.test:80"
#define ROOT 1

enum { WAITING = 64, CALLS = 64, TASKS = 64 };

/* Text that is put together piece by piece. */
typedef struct {
  char data[1024];
  pw_size size;
} text;

static void put(text *to, const char *data, pw_size size) {
  for (pw_size i = 0; i < size && to->size < sizeof to->data; i++) to->data[to->size++] = data[i];
}

static void say(text *to, const char *words) { put(to, words, pw_length(words)); }

static void number(text *to, pw_u64 value) {
  char digits[20];
  int count = 0;
  do digits[count++] = (char)('0' + value % 10);
  while (value /= 10);
  while (count--) put(to, &digits[count], 1);
}

static void log_text(const text *line) { proxy_log(PW_INFO, line->data, line->size); }

static void add(const char *name, const text *value) {
  if (pw_add_header(PW_REQUEST_HEADERS, name, value->data, value->size)) __builtin_trap();
}

static void must(pw_u32 status) {
  if (status != PW_OK) __builtin_trap();
}

/* What each stream does, by its context's id. */
static struct {
  pw_u32 context;
  pw_bytes task;
} tasks[TASKS];
static struct {
  pw_u32 call, context;
} calls[CALLS];
static pw_u32 waiting[WAITING], queue;
static int tcp;

static pw_bytes task_of(pw_u32 context) {
  pw_bytes none = {0, 0};
  for (int i = 0; i < TASKS; i++)
    if (tasks[i].context == context) return tasks[i].task;
  return none;
}

static int doing(pw_u32 context, const char *what) { return pw_equal(task_of(context), what); }

static void remember(pw_u32 call, pw_u32 context) {
  for (int i = 0; i < CALLS; i++)
    if (!calls[i].context) {
      calls[i].call = call;
      calls[i].context = context;
      return;
    }
}

static pw_u32 caller(pw_u32 call, int forget) {
  for (int i = 0; i < CALLS; i++)
    if (calls[i].context && calls[i].call == call) {
      pw_u32 context = calls[i].context;
      if (forget) calls[i].context = 0;
      must(proxy_set_effective_context(context));
      return context;
    }
  return 0;
}

PROXY_EXPORT(proxy_on_vm_start) pw_u32 on_vm_start(pw_u32 root, pw_size size) {
  (void)root;
  text line = {.size = 0};
  say(&line, "vm start with "), number(&line, size), say(&line, " bytes");
  log_text(&line);
  return 1;
}

PROXY_EXPORT(proxy_on_configure) pw_u32 on_configure(pw_u32 root, pw_size size) {
  (void)root;
  pw_bytes configuration = {0, 0};
  if (size) configuration = pw_buffer(PW_PLUGIN_CONFIGURATION);
  text line = {.size = 0};
  say(&line, "configured with "), number(&line, size), say(&line, " bytes: ");
  put(&line, configuration.data, configuration.size);
  log_text(&line);
  if (pw_equal(configuration, "refuse")) return 0;
  tcp = pw_equal(configuration, "tcp");
  pw_free(configuration.data);
  must(proxy_register_shared_queue("sdk-queue", 9, &queue));
  return 1;
}

PROXY_EXPORT(proxy_on_context_create) void on_context_create(pw_u32 context, pw_u32 parent) {
  (void)context, (void)parent;
}

PROXY_EXPORT(proxy_on_tick) void on_tick(pw_u32 root) {
  (void)root;
  must(proxy_set_tick_period_milliseconds(0));
  for (int i = 0; i < WAITING; i++)
    if (waiting[i]) {
      must(proxy_set_effective_context(waiting[i]));
      must(pw_add_header(PW_REQUEST_HEADERS, "x-ticked", "yes", 3));
      must(proxy_continue_stream(PW_REQUEST_STREAM));
      waiting[i] = 0;
    }
}

PROXY_EXPORT(proxy_on_queue_ready) void on_queue_ready(pw_u32 root, pw_u32 ready) {
  (void)root;
  pw_bytes item;
  while (proxy_dequeue_shared_queue(ready, &item.data, &item.size) == PW_OK) {
    text line = {.size = 0};
    say(&line, "queue gave "), put(&line, item.data, item.size);
    log_text(&line);
    pw_free(item.data);
  }
}

static pw_u32 call(pw_u32 context, const char *path, pw_u32 timeout) {
  const char *headers[] = {":method", "POST", ":authority", "callout.test", ":path", path,
                           "x-from",  "sdk",  ":scheme",    "http"};
  pw_bytes pairs = pw_pairs(headers, 5);
  pw_u32 id = 0;
  pw_u32 status = proxy_http_call(UPSTREAM, pw_length(UPSTREAM), pairs.data, pairs.size, "question",
                                  8, 0, 0, timeout, &id);
  pw_free(pairs.data);
  must(status);
  remember(id, context);
  return PW_PAUSE;
}

PROXY_EXPORT(proxy_on_http_call_response)
void on_http_call_response(pw_u32 root, pw_u32 id, pw_u32 headers, pw_size size, pw_u32 trailers) {
  (void)root;
  pw_u32 context = caller(id, 1);
  pw_bytes status = pw_header(PW_HTTP_CALL_RESPONSE_HEADERS, ":status");
  pw_bytes body = {0, 0};
  if (size) body = pw_buffer(PW_HTTP_CALL_RESPONSE_BODY);
  text line = {.size = 0};
  say(&line, "called: "), put(&line, status.data, status.size), say(&line, ", ");
  say(&line, headers ? "true" : "false"), say(&line, " headers, ");
  number(&line, trailers), say(&line, " trailers");
  log_text(&line);
  if (doing(context, "call-deny")) {
    const char *denied[] = {"x-denied", "by callout"};
    pw_bytes pairs = pw_pairs(denied, 1);
    must(proxy_send_local_response(403, "", 0, body.data, body.size, pairs.data, pairs.size,
                                   PW_NO_GRPC_STATUS));
    pw_free(pairs.data);
  } else {
    text value = {.size = 0};
    put(&value, status.data, status.size), say(&value, " ");
    if (pw_equal(status, "200")) put(&value, body.data, body.size);
    add("x-called", &value);
    must(proxy_continue_stream(PW_REQUEST_STREAM));
  }
  pw_free(status.data), pw_free(body.data);
}

static pw_u32 grpc(pw_u32 context, int stream) {
  const char *metadata[] = {"x-meta", "data"};
  pw_bytes pairs = pw_pairs(metadata, 1);
  pw_u32 id = 0;
  if (stream) {
    must(proxy_grpc_stream(GRPC, pw_length(GRPC), "test.Echo", 9, "Say", 3, pairs.data, pairs.size,
                           &id));
    must(proxy_grpc_send(id, "hello", 5, 0));
    must(proxy_grpc_send(id, "", 0, 1));
  } else {
    must(proxy_grpc_call(GRPC, pw_length(GRPC), "test.Echo", 9, "Say", 3, pairs.data, pairs.size,
                         "hello", 5, 2000, &id));
  }
  pw_free(pairs.data);
  remember(id, context);
  return PW_PAUSE;
}

PROXY_EXPORT(proxy_on_grpc_receive_initial_metadata)
void on_grpc_initial(pw_u32 root, pw_u32 id, pw_u32 count) {
  (void)root, (void)count;
  caller(id, 0);
  pw_bytes value = pw_header(PW_GRPC_INITIAL_METADATA, "x-initial");
  text line = {.size = 0};
  say(&line, "grpc initial metadata "), put(&line, value.data, value.size);
  log_text(&line);
  pw_free(value.data);
}

PROXY_EXPORT(proxy_on_grpc_receive) void on_grpc_receive(pw_u32 root, pw_u32 id, pw_size size) {
  (void)root;
  pw_u32 context = caller(id, 0);
  pw_bytes message = {0, 0};
  if (size) message = pw_buffer(PW_GRPC_MESSAGE);
  text line = {.size = 0};
  if (doing(context, "grpc")) {
    caller(id, 1);
    say(&line, "0 "), put(&line, message.data, message.size);
    add("x-grpc", &line);
    must(proxy_continue_stream(PW_REQUEST_STREAM));
  } else {
    say(&line, "grpc message "), put(&line, message.data, message.size);
    log_text(&line);
  }
  pw_free(message.data);
}

PROXY_EXPORT(proxy_on_grpc_receive_trailing_metadata)
void on_grpc_trailing(pw_u32 root, pw_u32 id, pw_u32 count) {
  (void)root, (void)count;
  caller(id, 0);
  pw_bytes value = pw_header(PW_GRPC_TRAILING_METADATA, "x-trailing");
  text line = {.size = 0};
  say(&line, "grpc trailing metadata "), put(&line, value.data, value.size);
  log_text(&line);
  pw_free(value.data);
}

PROXY_EXPORT(proxy_on_grpc_close) void on_grpc_close(pw_u32 root, pw_u32 id, pw_u32 status) {
  (void)root;
  caller(id, 1);
  text value = {.size = 0};
  say(&value, "closed "), number(&value, status);
  add("x-grpc", &value);
  must(proxy_continue_stream(PW_REQUEST_STREAM));
}

static void shared(void) {
  pw_u32 cas = 0;
  pw_bytes value = {0, 0};
  must(proxy_set_shared_data("sdk-key", 7, "one", 3, 0));
  must(proxy_get_shared_data("sdk-key", 7, &value.data, &value.size, &cas));
  pw_free(value.data);
  must(proxy_set_shared_data("sdk-key", 7, "two", 3, cas));
  pw_u32 stale = proxy_set_shared_data("sdk-key", 7, "three", 5, cas);
  must(proxy_get_shared_data("sdk-key", 7, &value.data, &value.size, &cas));
  text line = {.size = 0};
  put(&line, value.data, value.size), say(&line, " "), number(&line, stale);
  pw_free(value.data);
  say(&line, " "), number(&line, proxy_get_shared_data("sdk-none", 8, &value.data, &value.size, &cas));
  add("x-shared", &line);
}

static void metrics(void) {
  pw_u32 counter, gauge, histogram;
  pw_u64 before, after, level;
  must(proxy_define_metric(PW_COUNTER, "sdk_counter", 11, &counter));
  must(proxy_define_metric(PW_GAUGE, "sdk_gauge", 9, &gauge));
  must(proxy_define_metric(PW_HISTOGRAM, "sdk_histogram", 13, &histogram));
  must(proxy_get_metric(counter, &before));
  must(proxy_increment_metric(counter, 2));
  must(proxy_get_metric(counter, &after));
  must(proxy_record_metric(gauge, 7));
  must(proxy_increment_metric(gauge, -3));
  must(proxy_get_metric(gauge, &level));
  must(proxy_record_metric(histogram, 100));
  text line = {.size = 0};
  number(&line, after - before), say(&line, " "), number(&line, level);
  add("x-metric", &line);
}

static void property(text *line, const char *path, pw_size size) {
  pw_bytes value = {0, 0};
  if (proxy_get_property(path, size, &value.data, &value.size) == PW_OK)
    put(line, value.data, value.size);
  else
    say(line, "none");
  pw_free(value.data);
  say(line, " ");
}

static void properties(void) {
  text line = {.size = 0};
  property(&line, "request\0method", 14);
  property(&line, "request\0path", 12);
  property(&line, "no\0such", 7);
  must(proxy_set_property("sdk_own", 7, "kept", 4));
  property(&line, "sdk_own", 7);
  add("x-props", &line);
}

static void foreign(void) {
  char plain[] = "to be compressed, to be compressed, to be compressed";
  pw_bytes packed = {0, 0}, unpacked = {0, 0};
  text line = {.size = 0};
  number(&line, proxy_call_foreign_function("compress", 8, plain, sizeof plain, &packed.data,
                                            &packed.size));
  say(&line, " ");
  number(&line, proxy_call_foreign_function("uncompress", 10, packed.data, packed.size,
                                            &unpacked.data, &unpacked.size));
  say(&line, " "), put(&line, unpacked.data, unpacked.size ? unpacked.size - 1 : 0), say(&line, " ");
  number(&line, proxy_call_foreign_function("no_such_function", 16, 0, 0, 0, 0));
  add("x-foreign", &line);
}

static void change_headers(int end) {
  pw_bytes path = pw_header(PW_REQUEST_HEADERS, ":path");
  text line = {.size = 0};
  say(&line, "request "), put(&line, path.data, path.size), say(&line, end ? " end" : " more");
  log_text(&line);
  pw_free(path.data);
  must(pw_add_header(PW_REQUEST_HEADERS, "x-req-added", "a", 1));
  must(pw_add_header(PW_REQUEST_HEADERS, "x-req-added", "b", 1));
  must(pw_set_header(PW_REQUEST_HEADERS, "X-Req-Set", "c", 1));
  must(pw_remove_header(PW_REQUEST_HEADERS, "x-remove"));
  must(pw_set_header(PW_REQUEST_HEADERS, ":path", "/by-filter", 10));
}

static void nowhere(void) {
  const char *headers[] = {":method", "GET", ":path", "/", ":authority", "a"};
  pw_bytes pairs = pw_pairs(headers, 3);
  pw_u32 id;
  text line = {.size = 0};
  number(&line, proxy_http_call("no-such-upstream", 16, pairs.data, pairs.size, 0, 0, 0, 0, 9, &id));
  say(&line, " ");
  number(&line, proxy_http_call(UPSTREAM, pw_length(UPSTREAM), 0, 0, 0, 0, 0, 0, 9, &id));
  pw_free(pairs.data);
  add("x-called", &line);
}

static void answer(pw_u32 status, const char *name, const char *value, const char *body) {
  const char *headers[] = {name, value};
  pw_bytes pairs = pw_pairs(headers, 1);
  must(proxy_send_local_response(status, "", 0, body, pw_length(body), pairs.data, pairs.size,
                                 PW_NO_GRPC_STATUS));
  pw_free(pairs.data);
}

PROXY_EXPORT(proxy_on_request_headers)
pw_u32 on_request_headers(pw_u32 context, pw_u32 count, pw_u32 end) {
  (void)count;
  for (int i = 0; i < TASKS; i++)
    if (!tasks[i].context) {
      tasks[i].context = context;
      tasks[i].task = pw_header(PW_REQUEST_HEADERS, "x-do");
      break;
    }
  if (doing(context, "headers")) change_headers((int)end);
  if (doing(context, "body")) must(pw_remove_header(PW_REQUEST_HEADERS, "content-length"));
  if (doing(context, "local")) return answer(418, "x-local", "yes", "from the guest"), PW_PAUSE;
  if (doing(context, "local-grpc"))
    return must(proxy_send_local_response(200, "", 0, "no", 2, 0, 0, 7)), PW_PAUSE;
  if (doing(context, "call") || doing(context, "call-deny")) return call(context, "/ok", 2000);
  if (doing(context, "call-timeout")) return call(context, "/silent", 100);
  if (doing(context, "call-nowhere")) nowhere();
  if (doing(context, "grpc")) return grpc(context, 0);
  if (doing(context, "grpc-stream")) return grpc(context, 1);
  if (doing(context, "shared")) shared();
  if (doing(context, "queue")) must(proxy_enqueue_shared_queue(queue, "item", 4));
  if (doing(context, "metrics")) metrics();
  if (doing(context, "props")) properties();
  if (doing(context, "foreign")) foreign();
  if (doing(context, "time")) {
    pw_u64 now;
    must(proxy_get_current_time_nanoseconds(&now));
    must(pw_add_header(PW_REQUEST_HEADERS, "x-time", now > 1700000000000000000ull ? "1" : "0", 1));
  }
  if (doing(context, "tick")) {
    for (int i = 0; i < WAITING; i++)
      if (!waiting[i]) {
        waiting[i] = context;
        break;
      }
    must(proxy_set_tick_period_milliseconds(20));
    return PW_PAUSE;
  }
  if (doing(context, "all-headers")) {
    const char *headers[] = {":method", "GET",  ":path",  "/all", ":authority", "all.test",
                             ":scheme", "http", "x-only", "this"};
    pw_bytes pairs = pw_pairs(headers, 5);
    must(proxy_set_header_map_pairs(PW_REQUEST_HEADERS, pairs.data, pairs.size));
    pw_free(pairs.data);
  }
  if (doing(context, "reset")) must(proxy_close_stream(PW_REQUEST_STREAM));
  return PW_CONTINUE;
}

static pw_u32 upper(pw_u32 buffer, const char *more) {
  pw_bytes body = pw_buffer(buffer);
  text changed = {.size = 0};
  for (pw_size i = 0; i < body.size; i++) {
    char c = body.data[i];
    if (c >= 'a' && c <= 'z') c -= 'a' - 'A';
    put(&changed, &c, 1);
  }
  say(&changed, more);
  must(pw_replace_buffer(buffer, changed.data, changed.size));
  pw_free(body.data);
  return PW_CONTINUE;
}

PROXY_EXPORT(proxy_on_request_body)
pw_u32 on_request_body(pw_u32 context, pw_size size, pw_u32 end) {
  (void)size;
  if (doing(context, "body")) return end ? upper(PW_REQUEST_BODY, "!") : PW_PAUSE;
  if (doing(context, "local-body")) return must(pw_respond(413, "too much")), PW_PAUSE;
  return PW_CONTINUE;
}

static void trailer(pw_u32 map, const char *what, const char *name, const char *added) {
  pw_bytes value = pw_header(map, name);
  text line = {.size = 0};
  say(&line, what), put(&line, value.data, value.size);
  log_text(&line);
  must(pw_add_header(map, added, "added", 5));
  pw_free(value.data);
}

PROXY_EXPORT(proxy_on_request_trailers)
pw_u32 on_request_trailers(pw_u32 context, pw_u32 count) {
  (void)count;
  if (doing(context, "trailers"))
    trailer(PW_REQUEST_TRAILERS, "request trailer ", "x-client-trailer", "x-req-trailer");
  return PW_CONTINUE;
}

PROXY_EXPORT(proxy_on_response_headers)
pw_u32 on_response_headers(pw_u32 context, pw_u32 count, pw_u32 end) {
  (void)count, (void)end;
  if (doing(context, "headers")) {
    must(pw_add_header(PW_RESPONSE_HEADERS, "x-resp-added", "a", 1));
    must(pw_set_header(PW_RESPONSE_HEADERS, "server-test", "replaced", 8));
  }
  if (doing(context, "status")) must(pw_set_header(PW_RESPONSE_HEADERS, ":status", "202", 3));
  if (doing(context, "body")) must(pw_remove_header(PW_RESPONSE_HEADERS, "content-length"));
  if (doing(context, "local-response")) return answer(502, "x-local", "late", "instead"), PW_PAUSE;
  return PW_CONTINUE;
}

PROXY_EXPORT(proxy_on_response_body)
pw_u32 on_response_body(pw_u32 context, pw_size size, pw_u32 end) {
  (void)size;
  if (doing(context, "body")) return end ? upper(PW_RESPONSE_BODY, "?") : PW_PAUSE;
  return PW_CONTINUE;
}

PROXY_EXPORT(proxy_on_response_trailers)
pw_u32 on_response_trailers(pw_u32 context, pw_u32 count) {
  (void)count;
  if (doing(context, "trailers"))
    trailer(PW_RESPONSE_TRAILERS, "response trailer ", "x-server-trailer", "x-resp-trailer");
  return PW_CONTINUE;
}

PROXY_EXPORT(proxy_on_new_connection) pw_u32 on_new_connection(pw_u32 context) {
  (void)context;
  pw_log(PW_INFO, "new connection");
  return PW_CONTINUE;
}

PROXY_EXPORT(proxy_on_downstream_data)
pw_u32 on_downstream_data(pw_u32 context, pw_size size, pw_u32 end) {
  (void)context;
  text line = {.size = 0};
  pw_bytes data = size ? pw_buffer(PW_DOWNSTREAM_DATA) : (pw_bytes){0, 0};
  say(&line, "downstream "), put(&line, data.data, data.size), say(&line, end ? " end" : " more");
  log_text(&line);
  pw_free(data.data);
  return size ? upper(PW_DOWNSTREAM_DATA, "") : PW_CONTINUE;
}

PROXY_EXPORT(proxy_on_upstream_data)
pw_u32 on_upstream_data(pw_u32 context, pw_size size, pw_u32 end) {
  (void)context, (void)end;
  return size ? upper(PW_UPSTREAM_DATA, "") : PW_CONTINUE;
}

PROXY_EXPORT(proxy_on_downstream_connection_close)
void on_downstream_close(pw_u32 context, pw_u32 peer) {
  (void)context, (void)peer;
  pw_log(PW_INFO, "downstream closed");
}

PROXY_EXPORT(proxy_on_upstream_connection_close)
void on_upstream_close(pw_u32 context, pw_u32 peer) {
  (void)context, (void)peer;
  pw_log(PW_INFO, "upstream closed");
}

PROXY_EXPORT(proxy_on_log) void on_log(pw_u32 context) {
  pw_bytes task = task_of(context);
  if (!task.size) return;
  pw_bytes code = {0, 0};
  text line = {.size = 0};
  say(&line, "logged "), put(&line, task.data, task.size), say(&line, " ");
  if (proxy_get_property("response\0code", 13, &code.data, &code.size) == PW_OK && code.size == 8)
    number(&line, (pw_u8)code.data[0] | (pw_u32)(pw_u8)code.data[1] << 8);
  log_text(&line);
  pw_free(code.data);
}

PROXY_EXPORT(proxy_on_done) pw_u32 on_done(pw_u32 context) {
  if (doing(context, "done")) pw_log(PW_INFO, "done");
  return 1;
}

PROXY_EXPORT(proxy_on_delete) void on_delete(pw_u32 context) {
  for (int i = 0; i < TASKS; i++)
    if (tasks[i].context == context) {
      pw_free(tasks[i].task.data);
      tasks[i].context = 0;
      tasks[i].task.size = 0;
    }
  for (int i = 0; i < CALLS; i++)
    if (calls[i].context == context) calls[i].context = 0;
}

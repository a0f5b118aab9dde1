/* A filter that greets. */
#define PROXY_WASM_IMPLEMENTATION
#include "proxy_wasm.h"

/* The configuration of this instance, which is a text. */
static pw_bytes greeting;

PROXY_EXPORT(proxy_on_configure)
pw_u32 on_configure(pw_u32 context, pw_u32 size) {
  (void)context;
  if (size == 0) {
    /* The proxy does not use a filter that answers 0 here. */
    pw_log(PW_ERROR, "the configuration must be the text to greet with");
    return 0;
  }
  pw_free(greeting.data);
  greeting = pw_buffer(PW_PLUGIN_CONFIGURATION);
  return 1;
}

static void log_request(pw_bytes method, pw_bytes path) {
  pw_size size = method.size + 1 + path.size;
  char *line = pw_alloc(size);
  if (!line) return;
  memcpy(line, method.data, method.size);
  line[method.size] = ' ';
  memcpy(line + method.size + 1, path.data, path.size);
  proxy_log(PW_INFO, line, size);
  pw_free(line);
}

static int begins_with(pw_bytes bytes, const char *text) {
  pw_size size = pw_length(text);
  return bytes.size >= size && memcmp(bytes.data, text, size) == 0;
}

PROXY_EXPORT(proxy_on_request_headers)
pw_u32 on_request_headers(pw_u32 context, pw_u32 count, pw_u32 end) {
  (void)context, (void)count, (void)end;
  pw_bytes method = pw_header(PW_REQUEST_HEADERS, ":method");
  pw_bytes path = pw_header(PW_REQUEST_HEADERS, ":path");
  log_request(method, path);
  int is_forbidden = begins_with(path, "/forbidden");
  pw_free(method.data);
  pw_free(path.data);
  if (is_forbidden) {
    pw_respond(403, "not for you\n");
    return PW_PAUSE;
  }
  pw_set_header(PW_REQUEST_HEADERS, "x-greeting", greeting.data, greeting.size);
  return PW_CONTINUE;
}

PROXY_EXPORT(proxy_on_response_headers)
pw_u32 on_response_headers(pw_u32 context, pw_u32 count, pw_u32 end) {
  (void)context, (void)count, (void)end;
  pw_set_header(PW_RESPONSE_HEADERS, "x-filter", "{{name}}", pw_length("{{name}}"));
  return PW_CONTINUE;
}

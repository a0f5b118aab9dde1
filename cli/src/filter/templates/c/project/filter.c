/* A filter that greets. */
#define PROXY_WASM_IMPLEMENTATION
#include "proxy_wasm.h"

/* The configuration of this instance, and the text in it to greet with. */
static pw_bytes configuration, greeting;

/* Finds the value of a key whose value is a text without escapes, such as {"key":"value"}. */
static pw_bytes json_text(pw_bytes json, const char *key) {
  pw_bytes value = {0, 0};
  pw_size length = pw_length(key);
  for (pw_size at = 0; at + length + 2 < json.size; at++) {
    if (json.data[at] != '"' || memcmp(json.data + at + 1, key, length) != 0) continue;
    pw_size i = at + 1 + length;
    if (json.data[i++] != '"') continue;
    while (i < json.size && (json.data[i] == ' ' || json.data[i] == ':')) i++;
    if (i >= json.size || json.data[i] != '"') continue;
    value.data = json.data + ++i;
    while (i < json.size && json.data[i] != '"') i++, value.size++;
    return value;
  }
  return value;
}

PROXY_EXPORT(proxy_on_configure)
pw_u32 on_configure(pw_u32 context, pw_u32 size) {
  (void)context, (void)size;
  pw_free(configuration.data);
  configuration = pw_buffer(PW_PLUGIN_CONFIGURATION);
  greeting = json_text(configuration, "greeting");
  if (greeting.size > 0) return 1;
  /* The proxy does not use a filter that answers 0 here. */
  pw_log(PW_ERROR, "the configuration cannot be used: greeting must be a text");
  return 0;
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

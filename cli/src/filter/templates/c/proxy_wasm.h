/* The proxy-wasm ABI 0.2.1 for filters in C and C++, in one header.
 *
 * In exactly one source file:
 *
 *     #define PROXY_WASM_IMPLEMENTATION
 *     #include "proxy_wasm.h"
 *
 * which adds the version marker, the allocator that the proxy needs, and, without a C library, the
 * four functions compilers call by themselves (memcpy, memmove, memset, memcmp). With a C library
 * define PROXY_WASM_LIBC as well; its malloc is used then.
 *
 * Build without a C library:
 *
 *     clang --target=wasm32 -O2 -nostdlib -c filter.c -o filter.o
 *     wasm-ld --no-entry filter.o -o filter.wasm
 *
 * Callbacks are functions of the names of the ABI, marked PROXY_EXPORT(name); leave out what you do
 * not need. Every function of the proxy returns a status, PW_OK when it worked. Memory that comes
 * from the proxy (`data` of a pw_bytes) is yours: pw_free it. */
#ifndef PROXY_WASM_H
#define PROXY_WASM_H

typedef unsigned char pw_u8;
typedef unsigned int pw_u32;
typedef unsigned long long pw_u64;
typedef long long pw_i64;
typedef __SIZE_TYPE__ pw_size;

#ifdef __cplusplus
#define PW_C extern "C"
#else
#define PW_C
#endif

/* PROXY_EXPORT(proxy_on_request_headers) pw_u32 anything(pw_u32 context, ...) { ... } */
#define PROXY_EXPORT(name) PW_C __attribute__((export_name(#name), used, visibility("default")))
#define PROXY_IMPORT(name) PW_C __attribute__((import_module("env"), import_name(#name)))

enum {
  PW_OK = 0,
  PW_NOT_FOUND = 1,
  PW_BAD_ARGUMENT = 2,
  PW_SERIALIZATION_FAILURE = 3,
  PW_PARSE_FAILURE = 4,
  PW_INVALID_MEMORY_ACCESS = 6,
  PW_EMPTY = 7,
  PW_CAS_MISMATCH = 8,
  PW_INTERNAL_FAILURE = 10,
  PW_UNIMPLEMENTED = 12
};
enum { PW_TRACE, PW_DEBUG, PW_INFO, PW_WARN, PW_ERROR, PW_CRITICAL };
/* What a callback answers. The ABI has the first two; the others are Envoy's. */
enum { PW_CONTINUE = 0, PW_PAUSE = 1, PW_END_STREAM = 2, PW_PAUSE_ALL = 3, PW_PAUSE_AND_WATERMARK = 4 };
enum {
  PW_REQUEST_BODY,
  PW_RESPONSE_BODY,
  PW_DOWNSTREAM_DATA,
  PW_UPSTREAM_DATA,
  PW_HTTP_CALL_RESPONSE_BODY,
  PW_GRPC_MESSAGE,
  PW_VM_CONFIGURATION,
  PW_PLUGIN_CONFIGURATION,
  PW_FOREIGN_FUNCTION_ARGUMENTS
};
enum {
  PW_REQUEST_HEADERS,
  PW_REQUEST_TRAILERS,
  PW_RESPONSE_HEADERS,
  PW_RESPONSE_TRAILERS,
  PW_GRPC_INITIAL_METADATA,
  PW_GRPC_TRAILING_METADATA,
  PW_HTTP_CALL_RESPONSE_HEADERS,
  PW_HTTP_CALL_RESPONSE_TRAILERS
};
enum { PW_REQUEST_STREAM, PW_RESPONSE_STREAM, PW_DOWNSTREAM, PW_UPSTREAM };
enum { PW_PEER_UNKNOWN, PW_PEER_LOCAL, PW_PEER_REMOTE };
enum { PW_COUNTER, PW_GAUGE, PW_HISTOGRAM };
/* A gRPC status for proxy_send_local_response that says there is none. */
#define PW_NO_GRPC_STATUS 0xFFFFFFFFu
/* "All of it", and as a start "behind the end". */
#define PW_ALL 0xFFFFFFFFu

/* The functions of the proxy. */
PROXY_IMPORT(proxy_log)
pw_u32 proxy_log(pw_u32 level, const char *text, pw_size size);
PROXY_IMPORT(proxy_get_log_level)
pw_u32 proxy_get_log_level(pw_u32 *level);
PROXY_IMPORT(proxy_get_current_time_nanoseconds)
pw_u32 proxy_get_current_time_nanoseconds(pw_u64 *now);
PROXY_IMPORT(proxy_set_tick_period_milliseconds)
pw_u32 proxy_set_tick_period_milliseconds(pw_u32 period);
PROXY_IMPORT(proxy_get_status)
pw_u32 proxy_get_status(pw_u32 *code, char **data, pw_size *size);
PROXY_IMPORT(proxy_set_effective_context)
pw_u32 proxy_set_effective_context(pw_u32 context);
PROXY_IMPORT(proxy_done)
pw_u32 proxy_done(void);
PROXY_IMPORT(proxy_get_property)
pw_u32 proxy_get_property(const char *path, pw_size path_size, char **data, pw_size *size);
PROXY_IMPORT(proxy_set_property)
pw_u32 proxy_set_property(const char *path, pw_size path_size, const char *data, pw_size size);
PROXY_IMPORT(proxy_call_foreign_function)
pw_u32 proxy_call_foreign_function(const char *name, pw_size name_size, const char *arguments,
                                   pw_size arguments_size, char **data, pw_size *size);

PROXY_IMPORT(proxy_get_header_map_size)
pw_u32 proxy_get_header_map_size(pw_u32 map, pw_size *size);
PROXY_IMPORT(proxy_get_header_map_pairs)
pw_u32 proxy_get_header_map_pairs(pw_u32 map, char **data, pw_size *size);
PROXY_IMPORT(proxy_set_header_map_pairs)
pw_u32 proxy_set_header_map_pairs(pw_u32 map, const char *data, pw_size size);
PROXY_IMPORT(proxy_get_header_map_value)
pw_u32 proxy_get_header_map_value(pw_u32 map, const char *key, pw_size key_size, char **data,
                                  pw_size *size);
PROXY_IMPORT(proxy_add_header_map_value)
pw_u32 proxy_add_header_map_value(pw_u32 map, const char *key, pw_size key_size, const char *value,
                                  pw_size value_size);
PROXY_IMPORT(proxy_replace_header_map_value)
pw_u32 proxy_replace_header_map_value(pw_u32 map, const char *key, pw_size key_size,
                                      const char *value, pw_size value_size);
PROXY_IMPORT(proxy_remove_header_map_value)
pw_u32 proxy_remove_header_map_value(pw_u32 map, const char *key, pw_size key_size);

PROXY_IMPORT(proxy_get_buffer_bytes)
pw_u32 proxy_get_buffer_bytes(pw_u32 buffer, pw_u32 start, pw_u32 max, char **data, pw_size *size);
PROXY_IMPORT(proxy_get_buffer_status)
pw_u32 proxy_get_buffer_status(pw_u32 buffer, pw_size *size, pw_u32 *flags);
PROXY_IMPORT(proxy_set_buffer_bytes)
pw_u32 proxy_set_buffer_bytes(pw_u32 buffer, pw_u32 start, pw_u32 size, const char *data,
                              pw_size data_size);

PROXY_IMPORT(proxy_continue_stream)
pw_u32 proxy_continue_stream(pw_u32 stream);
PROXY_IMPORT(proxy_close_stream)
pw_u32 proxy_close_stream(pw_u32 stream);
PROXY_IMPORT(proxy_send_local_response)
pw_u32 proxy_send_local_response(pw_u32 status, const char *details, pw_size details_size,
                                 const char *body, pw_size body_size, const char *headers,
                                 pw_size headers_size, pw_u32 grpc_status);

PROXY_IMPORT(proxy_http_call)
pw_u32 proxy_http_call(const char *upstream, pw_size upstream_size, const char *headers,
                       pw_size headers_size, const char *body, pw_size body_size,
                       const char *trailers, pw_size trailers_size, pw_u32 timeout, pw_u32 *call);
PROXY_IMPORT(proxy_grpc_call)
pw_u32 proxy_grpc_call(const char *upstream, pw_size upstream_size, const char *service,
                       pw_size service_size, const char *method, pw_size method_size,
                       const char *metadata, pw_size metadata_size, const char *message,
                       pw_size message_size, pw_u32 timeout, pw_u32 *call);
PROXY_IMPORT(proxy_grpc_stream)
pw_u32 proxy_grpc_stream(const char *upstream, pw_size upstream_size, const char *service,
                         pw_size service_size, const char *method, pw_size method_size,
                         const char *metadata, pw_size metadata_size, pw_u32 *call);
PROXY_IMPORT(proxy_grpc_send)
pw_u32 proxy_grpc_send(pw_u32 call, const char *message, pw_size size, pw_u32 end_stream);
PROXY_IMPORT(proxy_grpc_cancel)
pw_u32 proxy_grpc_cancel(pw_u32 call);
PROXY_IMPORT(proxy_grpc_close)
pw_u32 proxy_grpc_close(pw_u32 call);

PROXY_IMPORT(proxy_get_shared_data)
pw_u32 proxy_get_shared_data(const char *key, pw_size key_size, char **data, pw_size *size,
                             pw_u32 *cas);
PROXY_IMPORT(proxy_set_shared_data)
pw_u32 proxy_set_shared_data(const char *key, pw_size key_size, const char *data, pw_size size,
                             pw_u32 cas);
PROXY_IMPORT(proxy_register_shared_queue)
pw_u32 proxy_register_shared_queue(const char *name, pw_size size, pw_u32 *queue);
PROXY_IMPORT(proxy_resolve_shared_queue)
pw_u32 proxy_resolve_shared_queue(const char *vm, pw_size vm_size, const char *name,
                                  pw_size name_size, pw_u32 *queue);
PROXY_IMPORT(proxy_enqueue_shared_queue)
pw_u32 proxy_enqueue_shared_queue(pw_u32 queue, const char *data, pw_size size);
PROXY_IMPORT(proxy_dequeue_shared_queue)
pw_u32 proxy_dequeue_shared_queue(pw_u32 queue, char **data, pw_size *size);

PROXY_IMPORT(proxy_define_metric)
pw_u32 proxy_define_metric(pw_u32 kind, const char *name, pw_size size, pw_u32 *metric);
PROXY_IMPORT(proxy_record_metric)
pw_u32 proxy_record_metric(pw_u32 metric, pw_u64 value);
PROXY_IMPORT(proxy_increment_metric)
pw_u32 proxy_increment_metric(pw_u32 metric, pw_i64 delta);
PROXY_IMPORT(proxy_get_metric)
pw_u32 proxy_get_metric(pw_u32 metric, pw_u64 *value);

/* What makes them easier to use. */
#ifndef PROXY_WASM_LIBC
PW_C void *memcpy(void *to, const void *from, pw_size size);
PW_C void *memmove(void *to, const void *from, pw_size size);
PW_C void *memset(void *to, int value, pw_size size);
PW_C int memcmp(const void *a, const void *b, pw_size size);
#endif
PW_C void *pw_alloc(pw_size size);
PW_C void pw_free(void *data);

/* Bytes; not ended by a NUL. */
typedef struct {
  char *data;
  pw_size size;
} pw_bytes;

static inline pw_size pw_length(const char *text) {
  pw_size size = 0;
  while (text[size]) size++;
  return size;
}

static inline int pw_equal(pw_bytes bytes, const char *text) {
  pw_size i = 0;
  for (; i < bytes.size; i++)
    if (text[i] == 0 || text[i] != bytes.data[i]) return 0;
  return text[i] == 0;
}

static inline pw_u32 pw_log(pw_u32 level, const char *text) {
  return proxy_log(level, text, pw_length(text));
}

/* Reads the first value of a header; free it. Without one: size 0 and data 0. */
static inline pw_bytes pw_header(pw_u32 map, const char *key) {
  pw_bytes value = {0, 0};
  if (proxy_get_header_map_value(map, key, pw_length(key), &value.data, &value.size) != PW_OK) {
    value.data = 0;
    value.size = 0;
  }
  return value;
}

static inline pw_u32 pw_set_header(pw_u32 map, const char *key, const char *value, pw_size size) {
  return proxy_replace_header_map_value(map, key, pw_length(key), value, size);
}

static inline pw_u32 pw_add_header(pw_u32 map, const char *key, const char *value, pw_size size) {
  return proxy_add_header_map_value(map, key, pw_length(key), value, size);
}

static inline pw_u32 pw_remove_header(pw_u32 map, const char *key) {
  return proxy_remove_header_map_value(map, key, pw_length(key));
}

/* Reads a buffer; free it. */
static inline pw_bytes pw_buffer(pw_u32 buffer) {
  pw_bytes bytes = {0, 0};
  if (proxy_get_buffer_bytes(buffer, 0, PW_ALL, &bytes.data, &bytes.size) != PW_OK) {
    bytes.data = 0;
    bytes.size = 0;
  }
  return bytes;
}

static inline pw_u32 pw_replace_buffer(pw_u32 buffer, const char *data, pw_size size) {
  return proxy_set_buffer_bytes(buffer, 0, PW_ALL, data, size);
}

/* Answers the request with a text. */
static inline pw_u32 pw_respond(pw_u32 status, const char *body) {
  return proxy_send_local_response(status, "", 0, body, pw_length(body), 0, 0, PW_NO_GRPC_STATUS);
}

/* Pairs as proxy_set_header_map_pairs, proxy_http_call and others want them; free it.
 * `texts` is a key, a value, a key, a value and so on. */
PW_C pw_bytes pw_pairs(const char *const *texts, pw_u32 pairs);

#ifdef PROXY_WASM_IMPLEMENTATION

PROXY_EXPORT(proxy_abi_version_0_2_1) void pw_abi_version_0_2_1(void) {}

#ifdef PROXY_WASM_LIBC
#include <stdlib.h>
PW_C void *pw_alloc(pw_size size) { return malloc(size ? size : 1); }
PW_C void pw_free(void *data) { free(data); }
#else

PW_C void *memcpy(void *to, const void *from, pw_size size) {
  for (pw_size i = 0; i < size; i++) ((volatile pw_u8 *)to)[i] = ((const pw_u8 *)from)[i];
  return to;
}
PW_C void *memmove(void *to, const void *from, pw_size size) {
  if ((pw_size)to <= (pw_size)from) return memcpy(to, from, size);
  while (size--) ((volatile pw_u8 *)to)[size] = ((const pw_u8 *)from)[size];
  return to;
}
PW_C void *memset(void *to, int value, pw_size size) {
  for (pw_size i = 0; i < size; i++) ((volatile pw_u8 *)to)[i] = (pw_u8)value;
  return to;
}
PW_C int memcmp(const void *a, const void *b, pw_size size) {
  for (pw_size i = 0; i < size; i++) {
    int difference = ((const pw_u8 *)a)[i] - ((const pw_u8 *)b)[i];
    if (difference) return difference;
  }
  return 0;
}

/* An allocator of blocks whose sizes are powers of two, one list of free ones for each. */
typedef struct pw_block {
  pw_size order;
  struct pw_block *next;
} pw_block;
#define PW_HEADER 16
static pw_block *pw_unused[32];
static pw_size pw_next, pw_end;
extern pw_u8 __heap_base;

PW_C void *pw_alloc(pw_size size) {
  pw_size order = 5;
  if (size > 0x40000000u) return 0;
  while (((pw_size)1 << order) < size + PW_HEADER) order++;
  pw_block *block = pw_unused[order];
  if (block) {
    pw_unused[order] = block->next;
  } else {
    pw_size want = (pw_size)1 << order;
    if (!pw_next) {
      pw_next = ((pw_size)&__heap_base + 15) & ~(pw_size)15;
      pw_end = __builtin_wasm_memory_size(0) << 16;
    }
    if (want > 0xFFFF0000u - pw_next) return 0;
    if (pw_next + want > pw_end) {
      pw_size pages = (pw_next + want - pw_end + 0xFFFF) >> 16;
      if (__builtin_wasm_memory_grow(0, pages) == (pw_size)-1) return 0;
      pw_end += pages << 16;
    }
    block = (pw_block *)pw_next;
    pw_next += want;
    block->order = order;
  }
  return (pw_u8 *)block + PW_HEADER;
}

PW_C void pw_free(void *data) {
  if (!data) return;
  pw_block *block = (pw_block *)((pw_u8 *)data - PW_HEADER);
  block->next = pw_unused[block->order];
  pw_unused[block->order] = block;
}
#endif

PROXY_EXPORT(proxy_on_memory_allocate) void *pw_on_memory_allocate(pw_size size) {
  return pw_alloc(size);
}

static char *pw_put(char *at, pw_u32 number) {
  for (int i = 0; i < 4; i++) *at++ = (char)(number >> (8 * i));
  return at;
}

PW_C pw_bytes pw_pairs(const char *const *texts, pw_u32 pairs) {
  pw_bytes bytes = {0, 4};
  for (pw_u32 i = 0; i < 2 * pairs; i++) bytes.size += 4 + pw_length(texts[i]) + 1;
  bytes.data = (char *)pw_alloc(bytes.size);
  if (!bytes.data) {
    bytes.size = 0;
    return bytes;
  }
  char *at = pw_put(bytes.data, pairs);
  for (pw_u32 i = 0; i < 2 * pairs; i++) at = pw_put(at, (pw_u32)pw_length(texts[i]));
  for (pw_u32 i = 0; i < 2 * pairs; i++)
    for (pw_size j = 0; j <= pw_length(texts[i]); j++) *at++ = texts[i][j];
  return bytes;
}

#endif /* PROXY_WASM_IMPLEMENTATION */
#endif /* PROXY_WASM_H */

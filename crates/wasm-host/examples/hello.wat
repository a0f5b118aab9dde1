;; A filter without an SDK: sets "x-greeting: hello" on every response.
(module
  (import "env" "proxy_replace_header_map_value" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "x-greetinghello")
  (func (export "proxy_abi_version_0_2_1"))
  ;; Nothing is ever handed to this filter, so it allocates nothing.
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 0))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
    ;; Map 2 holds the response headers.
    (call $set (i32.const 2) (i32.const 16) (i32.const 10) (i32.const 26) (i32.const 5))))

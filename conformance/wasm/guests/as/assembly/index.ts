// Uses a wide part of the AssemblyScript SDK, in the way a request's header `x-do` says; the words
// are the same for the guests of all languages.
export * from "@solo-io/proxy-runtime/proxy";
import {
  Context,
  Counter,
  FilterDataStatusValues,
  FilterHeadersStatusValues,
  FilterTrailersStatusValues,
  Gauge,
  GrpcStatusValues,
  HeaderPair,
  Headers,
  Histogram,
  LogLevelValues,
  RootContext,
  continue_request,
  log,
  registerRootContext,
  send_local_response,
  stream_context,
} from "@solo-io/proxy-runtime";
import {
  BufferTypeValues,
  get_buffer_bytes,
  get_current_time_nanoseconds,
  get_property,
  proxy_set_effective_context,
  set_property,
  set_tick_period_milliseconds,
} from "@solo-io/proxy-runtime/runtime";

const UPSTREAM = "outbound|80||callout.test";

function bytes(text: string): ArrayBuffer {
  return String.UTF8.encode(text);
}

function pair(name: string, value: string): HeaderPair {
  return new HeaderPair(bytes(name), bytes(value));
}

function info(text: string): void {
  log(LogLevelValues.info, text);
}

class Root extends RootContext {
  waiting: Array<u32> = new Array<u32>();

  onStart(size: usize): bool {
    info("vm start with " + size.toString() + " bytes");
    return super.onStart(size);
  }

  onConfigure(size: u32): bool {
    super.onConfigure(size);
    info("configured with " + size.toString() + " bytes: " + this.getConfiguration());
    return this.getConfiguration() != "refuse";
  }

  onTick(): void {
    set_tick_period_milliseconds(0);
    for (let i = 0; i < this.waiting.length; i++) {
      proxy_set_effective_context(this.waiting[i]);
      stream_context.headers.request.add("x-ticked", "yes");
      continue_request();
    }
    this.waiting = new Array<u32>();
  }

  createContext(id: u32): Context {
    return new Stream(id, this);
  }
}

function called(origin: Context, headers: u32, size: usize, trailers: u32): void {
  let stream = origin as Stream;
  let status = stream_context.headers.http_callback.get(":status");
  let body = String.UTF8.decode(
    get_buffer_bytes(BufferTypeValues.HttpCallResponseBody, 0, size as u32),
  );
  info("called: " + status + ", " + (headers > 0 ? "true" : "false") + " headers, " +
    trailers.toString() + " trailers");
  if (stream.task == "call-deny") {
    send_local_response(403, "", bytes(body), [pair("x-denied", "by callout")],
      GrpcStatusValues.Unknown);
    return;
  }
  stream_context.headers.request.add("x-called", status == "200" ? "200 " + body : status);
  continue_request();
}

class Stream extends Context {
  root: Root;
  task: string = "";

  constructor(id: u32, root: Root) {
    super(id, root);
    this.root = root;
  }

  call(path: string, timeout: u32): FilterHeadersStatusValues {
    let headers: Headers = [pair(":method", "POST"), pair(":path", path),
      pair(":authority", "callout.test"), pair("x-from", "sdk")];
    this.root.httpCall(UPSTREAM, headers, bytes("question"), [], timeout, this, called);
    return FilterHeadersStatusValues.StopIteration;
  }

  onRequestHeaders(count: u32, end: bool): FilterHeadersStatusValues {
    this.task = stream_context.headers.request.get("x-do");
    if (this.task == "headers") {
      info("request " + stream_context.headers.request.get(":path") + " " + (end ? "end" : "more"));
      stream_context.headers.request.add("x-req-added", "a");
      stream_context.headers.request.add("x-req-added", "b");
      stream_context.headers.request.replace("X-Req-Set", "c");
      stream_context.headers.request.remove("x-remove");
      stream_context.headers.request.replace(":path", "/by-filter");
    } else if (this.task == "local") {
      send_local_response(418, "", bytes("from the guest"), [pair("x-local", "yes")],
        GrpcStatusValues.Unknown);
      return FilterHeadersStatusValues.StopIteration;
    } else if (this.task == "call" || this.task == "call-deny") {
      return this.call("/ok", 2000);
    } else if (this.task == "call-timeout") {
      return this.call("/silent", 100);
    } else if (this.task == "metrics") {
      let counter = new Counter("sdk_counter");
      let gauge = new Gauge("sdk_gauge");
      let histogram = new Histogram("sdk_histogram");
      let results = counter.increment(2).toString() + gauge.increment(-3).toString() +
        gauge.record(gauge.metric_id, 7).toString() +
        histogram.record(histogram.metric_id, 100).toString();
      stream_context.headers.request.add("x-metric", results);
    } else if (this.task == "props") {
      set_property("sdk_own", bytes("kept"));
      let value = String.UTF8.decode(get_property("request\0method")) + " " +
        String.UTF8.decode(get_property("request\0path")) + " " +
        String.UTF8.decode(get_property("sdk_own"));
      stream_context.headers.request.add("x-props", value);
    } else if (this.task == "tick") {
      this.root.waiting.push(this.context_id);
      set_tick_period_milliseconds(20);
      return FilterHeadersStatusValues.StopIteration;
    } else if (this.task == "time") {
      let sane = get_current_time_nanoseconds() > 1700000000000000000;
      stream_context.headers.request.add("x-time", sane ? "true" : "false");
    }
    return FilterHeadersStatusValues.Continue;
  }

  onRequestBody(size: usize, end: bool): FilterDataStatusValues {
    if (this.task == "body" && end) {
      let body = get_buffer_bytes(BufferTypeValues.HttpRequestBody, 0, size as u32);
      info("request body " + String.UTF8.decode(body));
    }
    if (this.task == "body" && !end) {
      return FilterDataStatusValues.StopIterationAndBuffer;
    }
    if (this.task == "local-body") {
      send_local_response(413, "", bytes("too much"), [], GrpcStatusValues.Unknown);
      return FilterDataStatusValues.StopIterationNoBuffer;
    }
    return FilterDataStatusValues.Continue;
  }

  onRequestTrailers(count: u32): FilterTrailersStatusValues {
    if (this.task == "trailers") {
      info("request trailer " + stream_context.trailers.request.get("x-client-trailer"));
      stream_context.trailers.request.add("x-req-trailer", "added");
    }
    return FilterTrailersStatusValues.Continue;
  }

  onResponseHeaders(count: u32, end: bool): FilterHeadersStatusValues {
    if (this.task == "headers") {
      info("response " + stream_context.headers.response.get(":status"));
      stream_context.headers.response.add("x-resp-added", "a");
      stream_context.headers.response.replace("server-test", "replaced");
    } else if (this.task == "status") {
      stream_context.headers.response.replace(":status", "202");
    } else if (this.task == "local-response") {
      send_local_response(502, "", bytes("instead"), [pair("x-local", "late")],
        GrpcStatusValues.Unknown);
      return FilterHeadersStatusValues.StopIteration;
    }
    return FilterHeadersStatusValues.Continue;
  }

  onResponseTrailers(count: u32): FilterTrailersStatusValues {
    if (this.task == "trailers") {
      info("response trailer " + stream_context.trailers.response.get("x-server-trailer"));
      stream_context.trailers.response.add("x-resp-trailer", "added");
    }
    return FilterTrailersStatusValues.Continue;
  }

  onLog(): void {
    if (this.task != "") {
      info("logged " + this.task);
    }
  }
}

registerRootContext((id: u32) => new Root(id), "");

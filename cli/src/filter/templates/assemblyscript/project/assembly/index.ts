// A filter that greets.
export * from "@solo-io/proxy-runtime/proxy";
import {
  Context,
  FilterHeadersStatusValues,
  GrpcStatusValues,
  LogLevelValues,
  RootContext,
  log,
  registerRootContext,
  send_local_response,
  stream_context,
} from "@solo-io/proxy-runtime";
import { BufferTypeValues, get_buffer_bytes } from "@solo-io/proxy-runtime/runtime";

// Finds the value of a key whose value is a text without escapes, such as {"key":"value"}.
function jsonText(json: string, key: string): string {
  const at = json.indexOf('"' + key + '"');
  if (at < 0) return "";
  const begin = json.indexOf('"', at + key.length + 2) + 1;
  const end = json.indexOf('"', begin);
  return begin > 0 && end > begin ? json.substring(begin, end) : "";
}

// The filter with one configuration; it makes a Request for each request.
class Plugin extends RootContext {
  greeting: string = "";

  // The runtime's own onConfigure loses what it reads.
  onConfigure(size: u32): bool {
    if (size > 0) {
      const bytes = get_buffer_bytes(BufferTypeValues.PluginConfiguration, 0, size);
      this.greeting = jsonText(String.UTF8.decode(bytes), "greeting");
    }
    if (this.greeting.length > 0) return true;
    // The proxy does not use a filter that answers false here.
    log(LogLevelValues.error, "the configuration cannot be used: greeting must be a text");
    return false;
  }

  createContext(id: u32): Context {
    return new Request(id, this);
  }
}

// One request and its answer.
class Request extends Context {
  private plugin: Plugin;

  constructor(id: u32, plugin: Plugin) {
    super(id, plugin);
    this.plugin = plugin;
  }

  onRequestHeaders(count: u32, end: bool): FilterHeadersStatusValues {
    const headers = stream_context.headers.request;
    const path = headers.get(":path");
    log(LogLevelValues.info, headers.get(":method") + " " + path);
    if (path.startsWith("/forbidden")) {
      const body = String.UTF8.encode("not for you\n");
      send_local_response(403, "forbidden", body, [], GrpcStatusValues.PermissionDenied);
      return FilterHeadersStatusValues.StopIteration;
    }
    headers.replace("x-greeting", this.plugin.greeting);
    return FilterHeadersStatusValues.Continue;
  }

  onResponseHeaders(count: u32, end: bool): FilterHeadersStatusValues {
    stream_context.headers.response.replace("x-filter", "{{name}}");
    return FilterHeadersStatusValues.Continue;
  }
}

// The name is what `pluginName` of a WasmPlugin chooses by; none is this one.
registerRootContext((id: u32) => new Plugin(id), "");

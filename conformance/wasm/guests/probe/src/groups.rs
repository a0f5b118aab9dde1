//! Groups of host calls, each with the arguments that matter and those that should not.

mod actions;
mod calls;
mod pointers;
mod storage;
mod streams;

use crate::imports;
use crate::record::Record;

/// Runs the group of this name.
pub(crate) fn run(group: &str, context: u32, record: &mut Record) {
    match group {
        "maps" => streams::maps(record),
        "maps_write" => streams::maps_write(record),
        "maps_bad" => streams::maps_bad(record),
        "pairs" => streams::pairs(record),
        "pseudo" => streams::pseudo(record),
        "trailers_add" => streams::trailers_add(record),
        "buffers" => streams::buffers(record),
        "body" => streams::body(record),
        "props" => streams::properties(record),
        "set_props" => streams::set_properties(record),
        "shared" => storage::shared(record),
        "queues" => storage::queues(record),
        "enqueue" => storage::enqueue(record),
        "metrics" => storage::metrics(record),
        "resume" => actions::resume_all(false, record),
        "resume_response" => actions::resume_all(true, record),
        "status" => calls::status(record),
        "callouts_bad" => calls::bad(record),
        "foreign" => calls::foreign(record),
        "time" => actions::time(record),
        "logs" => actions::logs(record),
        "context" => actions::context(context, record),
        "done" => actions::done(record),
        "pointers" => pointers::all(record),
        "wasi" => pointers::wasi(record),
        "tick_on" => record.status("tick(20)", unsafe {
            imports::proxy_set_tick_period_milliseconds(20)
        }),
        "trap" => {
            record.flush();
            std::process::abort()
        }
        "exit" => {
            record.flush();
            unsafe { imports::proc_exit(7) }
        }
        other => {
            if let Some(edit) = other.strip_prefix("edit_") {
                streams::edit(edit, record);
            } else if let Some(kind) = other.strip_prefix("local_") {
                actions::local(kind, record);
            } else if let Some(kind) = other.strip_prefix("close_") {
                actions::close(kind, record);
            } else if let Some(kind) = other.strip_prefix("call_") {
                calls::start(kind, context, record);
            } else {
                record.note(&format!("no group {other}"));
            }
        }
    }
}

/// The address and length of bytes.
pub(crate) fn at(bytes: impl AsRef<[u8]>) -> (u32, u32) {
    let bytes = bytes.as_ref();
    (bytes.as_ptr() as u32, bytes.len() as u32)
}

/// Where a host call writes an address and a length.
#[repr(C)]
pub(crate) struct Out {
    pub(crate) at: u32,
    pub(crate) len: u32,
    pub(crate) wide: u64,
}

/// Makes a call that gives bytes, with the addresses to write where they are.
pub(crate) fn taking(call: impl FnOnce(u32, u32) -> u32) -> (u32, Option<Vec<u8>>) {
    // A value that no host writes shows what was not written.
    let mut out = Out {
        at: 0xdead,
        len: 0xdead,
        wide: 0,
    };
    let base = &raw mut out as u32;
    let status = call(base, base + 4);
    let out = unsafe { std::ptr::read_volatile(&raw const out) };
    if out.at == 0xdead && out.len == 0xdead {
        return (status, None);
    }
    if out.len == 0 || out.at == 0 {
        return (status, Some(Vec::new()));
    }
    let bytes = unsafe {
        Vec::from_raw_parts(out.at as usize as *mut u8, out.len as usize, out.len as usize)
    };
    (status, Some(bytes))
}

/// Makes a call that gives a number.
pub(crate) fn number(call: impl FnOnce(u32) -> u32) -> (u32, u64) {
    let mut out = 0_u64;
    let status = call(&raw mut out as u32);
    (status, unsafe { std::ptr::read_volatile(&raw const out) })
}

/// The first value of a header.
pub(crate) fn header(map: u32, name: &str) -> Option<String> {
    let (key, len) = at(name);
    let (status, value) = taking(|out, out_len| unsafe {
        imports::proxy_get_header_map_value(map, key, len, out, out_len)
    });
    let value = value.filter(|value| status == 0 && !value.is_empty())?;
    String::from_utf8(value).ok()
}

/// The text in a buffer.
pub(crate) fn buffer(id: u32, size: u32) -> String {
    #[cfg(feature = "abi-0-1-0")]
    let (_, value) = {
        let _ = (id, size);
        taking(|out, len| unsafe { imports::proxy_get_configuration(out, len) })
    };
    #[cfg(not(feature = "abi-0-1-0"))]
    let (_, value) =
        taking(|out, len| unsafe { imports::proxy_get_buffer_bytes(id, 0, size, out, len) });
    String::from_utf8(value.unwrap_or_default()).unwrap_or_default()
}

/// Goes on with a request or a response. Not with both: Envoy ends its process when told to go on
/// with a response that has not begun.
pub(crate) fn resume(response: bool) {
    #[cfg(feature = "abi-0-1-0")]
    unsafe {
        if response {
            imports::proxy_continue_response();
        } else {
            imports::proxy_continue_request();
        }
    }
    #[cfg(not(feature = "abi-0-1-0"))]
    unsafe {
        imports::proxy_continue_stream(u32::from(response));
    }
}

/// Takes all items of a queue.
pub(crate) fn drain(queue: u32, record: &mut Record) {
    for _ in 0..3 {
        let (status, value) = taking(|out, len| unsafe {
            imports::proxy_dequeue_shared_queue(queue, out, len)
        });
        record.bytes("dequeue", status, value.as_deref());
        if status != 0 {
            break;
        }
    }
}

/// A header map as it crosses: counts, lengths, then each name and value with a NUL.
pub(crate) fn map(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = (pairs.len() as u32).to_le_bytes().to_vec();
    for (name, value) in pairs {
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend((value.len() as u32).to_le_bytes());
    }
    for (name, value) in pairs {
        bytes.extend(name.as_bytes());
        bytes.push(0);
        bytes.extend(value.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// What such bytes hold, as text.
pub(crate) fn unmap(bytes: &[u8]) -> String {
    let word = |place: usize| {
        let word = bytes.get(place..place + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(word) as usize)
    };
    let mut shown = Vec::new();
    let count = word(0).unwrap_or(0);
    let mut place = 4 + count * 8;
    for number in 0..count {
        let lengths = word(4 + number * 8).zip(word(8 + number * 8));
        let Some((name, value)) = lengths else {
            return "cut off".to_owned();
        };
        let text = |from: usize, len: usize| {
            let bytes = bytes.get(from..from + len).unwrap_or(b"?");
            String::from_utf8_lossy(bytes).into_owned()
        };
        shown.push(format!("{}={}", text(place, name), text(place + name + 1, value)));
        place += name + value + 2;
    }
    shown.join(" & ")
}

// The server, over fetch alone.

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const post = (address, body, more = {}) => call(address, {
  method: "POST", body: JSON.stringify(body), ...more,
  headers: { "Content-Type": "application/json", ...more.headers },
});

async function call(address, options = {}) {
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "the server does not answer; is it running?");
  }
  if (response.ok) return response;
  let message = `the server said ${response.status}`;
  try {
    message = (await response.json()).error.message ?? message;
  } catch { /* no JSON: the status has to do */ }
  throw new Refused(response.status, message);
}

// The loaded model, or null.
export async function loadedModel() {
  const { data } = await (await call("/v1/models")).json();
  return data[0] ?? null;
}

// Has the server give this page another cookie, as one that began anew must.
export const renew = () => call("/");

export const showKey = (key) => post("/session", {}, { headers: { Authorization: `Bearer ${key}` } });

export const setDepth = (request, depth) => post(`/v1/requests/${encodeURIComponent(request)}/depth`, { depth });

// Yields the chunks of an answer. Raises Refused where the server ends it with an error.
export async function* answer(body, signal) {
  const response = await post("/v1/chat/completions", body, { signal });
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Refused(response.status, chunk.error.message);
    yield chunk;
  }
  throw new Refused(0, "the connection ended before the answer did");
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    let piece;
    try {
      piece = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused(0, "the connection was cut");
    }
    if (piece.done) return;
    waiting += piece.value;
    const parts = waiting.split("\n\n");
    waiting = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
      if (data.length) yield data.join("\n");
    }
  }
}

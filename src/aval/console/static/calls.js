// The calls of the page; all go to where it came from.

/** A refusal of the API; `code` is that of the error catalogue, or `offline`. */
export class Refused extends Error {
  constructor(code, seconds = 0) {
    super(code);
    this.code = code;
    this.seconds = seconds;
  }
}

async function call(method, path, body) {
  let answer;
  let told;
  try {
    answer = await fetch(path, {
      method,
      headers: body ? { "content-type": "application/json" } : {},
      body: body ? JSON.stringify(body) : undefined,
      credentials: "omit",
      cache: "no-store",
      redirect: "error",
    });
    told = await answer.json();
  } catch {
    throw new Refused("offline");
  }
  if (!answer.ok) throw new Refused(String(told.code), Number(answer.headers.get("retry-after")));
  return told;
}

export const readFacts = (id) => call("GET", `/approve/${id}/facts`);
export const openSession = (id) => call("GET", `/device_sessions/${id}`);
export const sendDecision = (id, decision, body) => call("POST", `/device_sessions/${id}/${decision}`, body);
export const readWaiting = (id, body) => call("POST", `/approve/${id}/waiting`, body);

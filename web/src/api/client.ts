// The one place that talks to the server.

import * as decode from "./decode";
import type { Me, Review } from "./types";

const base = "/api/v1";
const patience = 30_000;
const longPatience = 330_000; // for what reads the whole log

/** What the server, or the way to it, answered instead. */
export class ApiError extends Error {
  readonly status: number; // 0: no answer at all
  readonly hint: string;
  constructor(status: number, message: string, hint = "") {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.hint = hint;
  }
}

let csrf = "";

/** Remembers the value that state-changing calls must carry. */
export function remember(me: Me): Me {
  if (me.csrf) csrf = me.csrf;
  return me;
}

async function call(method: string, path: string, body?: unknown, signal?: AbortSignal, ms = patience): Promise<unknown> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && csrf) headers["X-Doorward-CSRF"] = csrf;
  const limit = AbortSignal.timeout(ms);
  let res: Response;
  let text: string;
  try {
    res = await fetch(base + path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
      redirect: "error",
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    text = await res.text();
  } catch (e) {
    if (signal?.aborted) throw e;
    throw new ApiError(0, limit.aborted ? "doorward did not answer in time" : "doorward cannot be reached", "The page tries again by itself. Is the server running, and the network up?");
  }
  let json: unknown;
  if (text) {
    try {
      json = JSON.parse(text);
    } catch {
      if (res.ok) throw new ApiError(res.status, "the answer is not JSON", "Something between this page and doorward may have answered in its place.");
    }
  }
  if (!res.ok) {
    const p = (typeof json === "object" && json !== null ? json : {}) as Record<string, unknown>;
    const detail = typeof p.detail === "string" ? p.detail : typeof p.title === "string" ? p.title : `the server answered ${res.status}`;
    throw new ApiError(res.status, detail.slice(0, 2000), typeof p.hint === "string" ? p.hint.slice(0, 2000) : "");
  }
  return json;
}

const q = (params: Record<string, string>) => {
  const u = new URLSearchParams();
  for (const [k, v] of Object.entries(params)) if (v) u.set(k, v);
  const t = u.toString();
  return t ? "?" + t : "";
};
const seg = encodeURIComponent;

/** The API, one function an operation. */
export const api = {
  async me(signal?: AbortSignal): Promise<Me | null> {
    try {
      return remember(decode.me(await call("GET", "/me", undefined, signal)));
    } catch (e) {
      if (e instanceof ApiError && e.status === 401) return null;
      throw e;
    }
  },
  providers: async (signal?: AbortSignal) => decode.list(await call("GET", "/providers", undefined, signal), ["providers"], decode.provider),
  async signIn(provider: string, user: string, password: string): Promise<Me> {
    const r = (await call("POST", "/signin", { provider, user, password })) as Record<string, unknown>;
    const me = decode.me(r.me);
    return remember({ ...me, csrf: typeof r.csrf === "string" ? r.csrf : me.csrf });
  },
  async signOut(): Promise<void> {
    await call("POST", "/signout");
    csrf = "";
  },
  reviews: async (state: "waiting" | "all", signal?: AbortSignal) => decode.list(await call("GET", "/reviews" + q({ state }), undefined, signal), ["reviews"], decode.review),
  review: async (id: number, signal?: AbortSignal): Promise<Review> => decode.review(await call("GET", `/reviews/${id}`, undefined, signal)),
  vote: async (id: number, v: { approve: boolean; comment: string; maxRows: number }): Promise<Review> =>
    decode.review(await call("POST", `/reviews/${id}/votes`, { approve: v.approve, comment: v.comment || undefined, max_rows: v.maxRows || undefined })),
  sessions: async (f: { q: string; target: string; live: boolean; limit: number }, signal?: AbortSignal) =>
    decode.list(await call("GET", "/sessions" + q({ q: f.q, target: f.target, live: f.live ? "true" : "", limit: String(f.limit) }), undefined, signal), ["sessions"], decode.session),
  session: async (id: string, signal?: AbortSignal) => decode.session(await call("GET", `/sessions/${seg(id)}`, undefined, signal)),
  timeline: async (id: string, signal?: AbortSignal) => decode.timeline(await call("GET", `/sessions/${seg(id)}/timeline`, undefined, signal)),
  kill: (id: string) => call("POST", `/sessions/${seg(id)}/kill`),
  targets: async (signal?: AbortSignal) => decode.list(await call("GET", "/targets", undefined, signal), ["targets"], decode.target),
  runs: async (signal?: AbortSignal) => decode.list(await call("GET", "/runs", undefined, signal), ["runs"], decode.run),
  revoke: (id: string) => call("DELETE", `/runs/${seg(id)}`),
  audit: async (signal?: AbortSignal) => decode.audit(await call("GET", "/audit", undefined, signal, longPatience)),
};

/** Where the event stream is. */
export const eventsURL = base + "/events";

/** Where a recording can be taken away from. */
export const tapeURL = (id: string, format: "asciicast" | "json") => `${base}/sessions/${seg(id)}/tape?format=${format}`;

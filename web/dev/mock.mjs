// A stand-in for the server, for working on the console's looks. It serves
// dist/ with the same headers as doorward and answers the API from memory.
// No test of record uses it.
//
//   npm run build && npm run mock      then http://127.0.0.1:8444, ada / ada
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const dist = fileURLToPath(new URL("../dist/", import.meta.url));
const port = Number(process.env.PORT ?? 8444);
const now = () => Date.now();
const iso = (ms) => new Date(ms).toISOString();
const min = 60_000;

const ada = { subject: "dev:ada", name: "ada@corp.example", provider: "dev", groups: ["engineers"], agent: "codex", run: "run_7f3k2m9q", credential: "c1" };
const ben = { subject: "dev:ben", name: "ben@corp.example", provider: "dev", groups: ["engineers"], agent: "claude-code", run: "run_0b8c1x4z", credential: "c2" };
const me = { subject: "dev:grace", name: "grace@corp.example", provider: "dev", groups: ["dba"], admin: true, csrf: "tok" };

const effect = (verbs, objects, extra = {}) => ({ verbs, kinds: ["UPDATE"], objects, complete: true, read_only: false, bound: -1, traits: [], masked: [], ...extra });
let nextID = 41;
const reviews = new Map();
function file(r) {
  const id = nextID++;
  const full = {
    id, digest: "9c1f0f7de2b9a6c2d3e4f50617283940a1b2c3d4e5f60718293a4b5c6d7e8f90", state: "waiting", identity: ada, target: "orders-db", protocol: "postgres", session: "s_01jd7q", params: [], why: "Ticket 4812: customer 42 was charged twice, set the second order to refunded",
    rule: "bounded-writes-need-a-yes", reason: "writes to production need one yes", reviewers: [{ groups: ["dba", "team-leads"], count: 1 }], policy: "p-3f2a", fingerprint: "f1", url: "", votes: [], created: iso(now()), expires: iso(now() + 60 * min), mine: false, can_vote: true, ...r,
  };
  reviews.set(id, full);
  emit("review", full);
  return full;
}
const streams = new Set();
const emit = (type, data) => streams.forEach((s) => s.write(`event: ${type}\ndata: ${JSON.stringify(data)}\n\n`));

file({
  statement: "UPDATE public.orders AS o\n   SET status = 'refunded',\n       refunded_at = now() -- second charge only\n WHERE o.id = $1\n   AND o.customer_id = $2",
  params: ["9912", "42"], effect: effect(["read", "update"], [{ kind: "table", name: "public.orders", verbs: ["read", "update"] }, { kind: "function", name: "pg_catalog.now", verbs: ["read"] }], { bound: 1 }), max_rows: 10, created: iso(now() - 3 * min),
});
file({
  identity: ben, why: "Clean up test accounts", created: iso(now() - 12 * min), expires: iso(now() + 3 * min), rule: "deletes-need-two", reviewers: [{ groups: ["dba"], count: 2 }],
  statement: "DELETE FROM public.us\u0435rs WHERE email LIKE '%@test.example' -- \u202e;1 TIMIL\u202c\r; " + " ".repeat(200) + "DROP TABLE audit_log; \u001b[2K",
  effect: { ...effect(["read", "delete", "define"], [{ kind: "table", name: "public.us\u0435rs", verbs: ["read", "delete"] }, { kind: "table", name: "public.audit_log", verbs: ["define"] }]), complete: false, traits: ["unbounded", "irreversible", "multi_statement", "masked"], masked: ["public.users.email"] },
  votes: [{ by: "linus@corp.example", approve: true, comment: "Fine by me, if it is only the test accounts.", max_rows: 500, at: iso(now() - 5 * min) }],
});
file({
  identity: ben, why: "", state: "waiting", created: iso(now() - 20 * min), can_vote: false, why_not: "An agent of yours asked for this: somebody else has to answer.", mine: true,
  statement: "INSERT INTO public.events (id, kind, payload) VALUES\n" + Array.from({ length: 180 }, (_, i) => `  (${1000 + i}, 'import', '{"n": ${i}}')`).join(",\n") + "\nON CONFLICT DO NOTHING",
  effect: effect(["create"], [{ kind: "table", name: "public.events", verbs: ["create"] }], { bound: 180 }),
});
file({ state: "spent", created: iso(now() - 90 * min), decided: iso(now() - 88 * min), statement: "UPDATE public.customers SET tier = 'gold' WHERE id = 7", effect: effect(["update"], [{ kind: "table", name: "public.customers", verbs: ["read", "update"] }], { bound: 1 }), votes: [{ by: "grace@corp.example", approve: true, at: iso(now() - 88 * min), comment: "" }] });
file({ state: "denied", created: iso(now() - 200 * min), decided: iso(now() - 190 * min), statement: "ALTER TABLE public.orders DROP COLUMN note", effect: effect(["define"], [{ kind: "table", name: "public.orders", verbs: ["define"] }], { traits: ["irreversible"] }), votes: [{ by: "grace@corp.example", approve: false, at: iso(now() - 190 * min), comment: "Not without a migration. Open a pull request." }] });

const sessions = [
  { id: "s_01jd7q", identity: ada, target: "orders-db", protocol: "postgres", remote: "10.1.4.7:51544", started: iso(now() - 6 * min), live: true, requests: 7, rows: 61, bytes: 8123, denied: 2 },
  { id: "s_01jd2c", identity: ben, target: "orders-db", protocol: "postgres", remote: "10.1.4.9:40122", started: iso(now() - 95 * min), ended: iso(now() - 80 * min), why: "closed", live: false, requests: 31, rows: 12044, bytes: 991233, denied: 2 },
  { id: "s_01jcx8", identity: { ...ada, agent: "", run: "" }, target: "billing-db", protocol: "postgres", remote: "10.1.2.2:33010", started: iso(now() - 26 * 60 * min), ended: iso(now() - 25.5 * 60 * min), why: "interrupted", live: false, requests: 4, rows: 4, bytes: 512, denied: 0 },
];
const cols = ["id", "name", "email", "card", "created_at", "note"];
const timeline = (s) => ({
  header: { session: s.id, identity: s.identity, target: s.target, protocol: s.protocol, remote: s.remote, started: s.started },
  entries: [
    { at_ms: 0, request: 0, kind: "note", text: "connected over TLS 1.3 as psql" },
    { at_ms: 420, request: 1, kind: "request", statement: "SELECT id, name, email, card, created_at, note\n  FROM public.customers\n ORDER BY id LIMIT 6", decision: "allow", rule: "engineers-read", masked: ["public.customers.email", "public.customers.card"] },
    { at_ms: 431, request: 1, kind: "reply", columns: cols, rows: Array.from({ length: 6 }, (_, i) => [String(i + 1), ["Ada", "Grace", "Linus", "Ken", "Dennis", "Barbara"][i], `${"agldkb"[i]}•••@example.com`, "•••• •••• •••• 4" + (100 + i * 7), "2026-01-0" + (i + 1), i % 2 ? null : ""]), text: "SELECT 6" },
    { at_ms: 432, request: 1, kind: "outcome", row_count: 6, took_ms: 11.4 },
    { at_ms: 9000, request: 2, kind: "request", statement: "DROP TABLE public.customers", decision: "deny", rule: "no-ddl", reason: "tables are not dropped through doorward" },
    { at_ms: 9002, request: 2, kind: "outcome", error: "ERROR 42501: tables are not dropped through doorward (rule no-ddl)" },
    { at_ms: 31000, request: 3, kind: "request", statement: "UPDATE public.orders SET status = 'refunded' WHERE id = $1", params: ["9912"], decision: "review", rule: "bounded-writes-need-a-yes", review: 41 },
    { at_ms: 31010, request: 3, kind: "note", text: "held for review 41: somebody was asked. Waiting up to 45 s." },
    { at_ms: 44010, request: 3, kind: "reply", text: "UPDATE 1" },
    { at_ms: 44012, request: 3, kind: "outcome", row_count: 1, took_ms: 13012 },
    { at_ms: 45000, request: 4, kind: "request", statement: "SELECT * FROM public.events", decision: "allow", rule: "engineers-read" },
    { at_ms: 45010, request: 4, kind: "reply", columns: ["id", "kind", "payload"], rows: Array.from({ length: 48 }, (_, i) => [String(i), "import", `{"n": ${i}}`]), truncated: true, row_count: 9000 },
    { at_ms: 45011, request: 4, kind: "cut", text: "512 KiB of the reply are not in the recording: a reply is kept up to 256 KiB" },
    { at_ms: 45100, request: 4, kind: "outcome", row_count: 9000, took_ms: 98.2 },
  ],
  verified: s.id === "s_01jcx8" ? { ok: false, problems: ["frame 9: the chain is broken: the hash of frame 8 is not what it says", "the log holds no seal for this session"] } : { ok: true },
});
const runs = [
  { run: "run_7f3k2m9q", agent: "codex", name: "ada@corp.example", task: reviews.get(41).why, targets: ["orders-db"], started: iso(now() - 7 * min), expires: iso(now() + 53 * min), live: true },
  { run: "run_0b8c1x4z", agent: "claude-code", name: "ben@corp.example", task: "", targets: [], started: iso(now() - 96 * min), expires: iso(now() + 24 * min), live: true },
  { run: "run_5n1p8d2v", agent: "codex", name: "ada@corp.example", task: "Why is the nightly export slow?", targets: ["orders-db", "billing-db"], started: iso(now() - 300 * min), expires: iso(now() - 240 * min), ended: iso(now() - 270 * min), live: false },
];

const headers = {
  "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
};
const types = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };

async function body(req) {
  let s = "";
  for await (const c of req) s += c;
  return s ? JSON.parse(s) : {};
}

createServer(async (req, res) => {
  const url = new URL(req.url, "http://x");
  for (const [k, v] of Object.entries(headers)) res.setHeader(k, v);
  const send = (code, v) => {
    res.writeHead(code, { "Content-Type": code >= 400 ? "application/problem+json" : "application/json" });
    res.end(v === undefined ? "" : JSON.stringify(v));
  };
  const fail = (status, detail, hint) => send(status, { title: "x", status, detail, hint });
  if (!url.pathname.startsWith("/api/")) {
    let f = normalize(join(dist, url.pathname));
    if (!f.startsWith(dist) || !existsSync(f) || statSync(f).isDirectory()) f = join(dist, "index.html");
    res.setHeader("Content-Type", types[extname(f)] ?? "application/octet-stream");
    createReadStream(f).pipe(res);
    return;
  }
  const p = url.pathname.slice("/api/v1/".length).split("/").map(decodeURIComponent);
  const key = req.method + " " + p[0];
  if (key === "GET providers") return send(200, [{ name: "dev", kind: "local" }, { name: "corp", kind: "oidc", url: "/api/v1/signin/corp" }]);
  if (key === "POST signin") {
    const b = await body(req);
    if (b.user !== b.password) return fail(401, "the user or the password is wrong", "For the demo, both are the same.");
    res.setHeader("Set-Cookie", "doorward_session=x; HttpOnly; SameSite=Strict; Path=/");
    setTimeout(() => file({ statement: "UPDATE public.customers SET phone = NULL WHERE id = 42", why: "Ticket 4813: the customer asked to remove the phone number", max_rows: 5, effect: effect(["read", "update"], [{ kind: "table", name: "public.customers", verbs: ["read", "update"] }], { bound: 1 }) }), Number(process.env.LATE ?? 4000));
    return send(200, { me, csrf: "tok" });
  }
  if (!/doorward_session=x/.test(req.headers.cookie ?? "")) return fail(401, "not signed in", "Sign in at the console.");
  if (req.method !== "GET" && req.headers["x-doorward-csrf"] !== "tok") return fail(403, "the X-Doorward-CSRF header is missing or wrong");
  switch (key) {
    case "GET me":
      return send(200, me);
    case "POST signout":
      res.setHeader("Set-Cookie", "doorward_session=; Max-Age=0; Path=/");
      return send(204);
    case "GET events":
      res.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
      res.write("retry: 2000\n: doorward\n\n");
      streams.add(res);
      req.on("close", () => streams.delete(res));
      return;
    case "GET reviews":
      if (p[1]) return reviews.has(+p[1]) ? send(200, reviews.get(+p[1])) : fail(404, `there is no review ${p[1]}`);
      return send(200, { reviews: [...reviews.values()].filter((r) => url.searchParams.get("state") === "all" || r.state === "waiting").sort((a, b) => b.id - a.id) });
    case "POST reviews": {
      const r = reviews.get(+p[1]);
      const b = await body(req);
      if (r.state !== "waiting") return fail(409, "this review is already " + r.state);
      r.votes.push({ by: me.name, approve: b.approve, comment: b.comment, max_rows: b.max_rows, at: iso(now()) });
      if (!b.approve || r.votes.filter((v) => v.approve).length >= r.reviewers[0].count) Object.assign(r, { state: b.approve ? "approved" : "denied", decided: iso(now()) });
      emit("review", r);
      if (r.state === "approved") setTimeout(() => emit("review", Object.assign(r, { state: "spent" })), 2500);
      return send(200, r);
    }
    case "GET sessions": {
      if (!p[1]) {
        const q = (url.searchParams.get("q") ?? "").toLowerCase();
        return send(200, { sessions: sessions.filter((s) => (!q || JSON.stringify(s).toLowerCase().includes(q)) && (!url.searchParams.get("target") || s.target === url.searchParams.get("target")) && (!url.searchParams.get("live") || s.live)) });
      }
      const s = sessions.find((x) => x.id === p[1]);
      if (!s) return fail(404, "there is no such session");
      return send(200, p[2] === "timeline" ? timeline(s) : s);
    }
    case "POST sessions": {
      const s = sessions.find((x) => x.id === p[1]);
      Object.assign(s, { live: false, ended: iso(now()), why: "ended by " + me.name });
      emit("session", { ...s, event: "closed" });
      return send(204);
    }
    case "GET targets":
      return send(200, [{ name: "orders-db", protocol: "postgres" }, { name: "billing-db", protocol: "postgres" }]);
    case "GET runs":
      return send(200, { runs });
    case "DELETE runs":
      Object.assign(runs.find((r) => r.run === p[1]), { live: false, ended: iso(now()) });
      return send(204);
    case "GET audit":
      return send(200, { size: 18422, root: "q1XyJ4nN0mCkq0sY8Wm3pT0bXxv2m5mJtq9d7hQe1uE=", checkpoint: "doorward/orders\n18422\nq1XyJ4nN0mCkq0sY8Wm3pT0bXxv2m5mJtq9d7hQe1uE=\n\n— doorward/orders 3f2a1c9dQmFzZTY0U2lnbmF0dXJlR29lc0hlcmU=\n", ok: true, checked_at: iso(now() - 42_000) });
  }
  fail(404, "there is no such address");
}).listen(port, "127.0.0.1", () => console.log(`http://127.0.0.1:${port}`));

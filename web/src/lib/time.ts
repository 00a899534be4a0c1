// Times and sizes for people. Everything takes "now" as a value, so that it
// can be tested and so that one clock drives the whole page.

/** "3 s", "2 min 5 s", "1 h 20 min", "3 d". */
export function span(ms: number): string {
  if (!Number.isFinite(ms)) return "–";
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  const m = Math.floor(s / 60);
  if (m < 10) return s % 60 ? `${m} min ${s % 60} s` : `${m} min`;
  if (m < 60) return `${m} min`;
  const h = Math.floor(m / 60);
  if (h < 48) return m % 60 ? `${h} h ${m % 60} min` : `${h} h`;
  return `${Math.floor(h / 24)} d`;
}

/** "just now", "5 min ago". */
export function ago(iso: string, now: number): string {
  const t = Date.parse(iso);
  if (!Number.isFinite(t)) return "–";
  const d = now - t;
  if (d < 5000) return "just now";
  return `${span(d)} ago`;
}

/** Milliseconds as a replay clock: "0:04.250", "1:02:03.000". */
export function clock(ms: number): string {
  const t = Math.max(0, Math.round(ms));
  const h = Math.floor(t / 3_600_000);
  const m = Math.floor(t / 60_000) % 60;
  const s = Math.floor(t / 1000) % 60;
  const f = String(t % 1000).padStart(3, "0");
  return h ? `${h}:${String(m).padStart(2, "0")}:${String(s).padStart(2, "0")}.${f}` : `${m}:${String(s).padStart(2, "0")}.${f}`;
}

/** How long a request took: "0.4 ms", "230 ms", "4.1 s". */
export function took(ms: number): string {
  if (!Number.isFinite(ms) || ms < 0) return "–";
  if (ms < 10) return `${Math.round(ms * 10) / 10} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${Math.round(ms / 100) / 10} s`;
  return span(ms);
}

const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const short = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });

/** Date and time in the reader's own zone. */
export function when(iso: string): string {
  const t = Date.parse(iso);
  return Number.isFinite(t) && t > 0 ? full.format(t) : "–";
}

/** The time today, the date and time otherwise. */
export function whenShort(iso: string, now: number): string {
  const t = Date.parse(iso);
  if (!Number.isFinite(t) || t <= 0) return "–";
  return new Date(t).toDateString() === new Date(now).toDateString() ? short.format(t) : day.format(t);
}

const num = new Intl.NumberFormat("en");

/** "12,345". */
export const count = (n: number): string => num.format(n);

/** "1 row", "12,345 rows". */
export const plural = (n: number, one: string, many = one + "s"): string => `${count(n)} ${n === 1 ? one : many}`;

/** "512 B", "1.5 MiB". */
export function size(n: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let u = 0;
  while (n >= 1024 && u < units.length - 1) {
    n /= 1024;
    u++;
  }
  return `${u ? Math.round(n * 10) / 10 : n} ${units[u]}`;
}

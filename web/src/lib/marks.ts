// Text that an agent wrote is shown to a person who decides by it. Some
// characters make text look like something it is not: they reorder it, hide in
// it, or push its end out of sight. This file finds them, so that they can be
// shown as what they are. It never changes the text itself: the segments of a
// text, joined, are that text.

/** A sign is marked quietly: prose is full of dashes and curly quotes. */
export type MarkKind = "control" | "bidi" | "invisible" | "space" | "lookalike" | "run" | "sign";

export interface Segment {
  /** What stands in the text. */
  text: string;
  /** Set when the segment is not plain text. */
  mark?: Mark;
}

export interface Mark {
  kind: MarkKind;
  /** What is shown in place of, or around, the text. */
  shown: string;
  /** For people who ask: "U+202E right-to-left override". */
  title: string;
  /** The mark stands at the end of a line, which still has to end. */
  breaks?: boolean;
  /** How many characters, or places, it stands for. */
  n: number;
}

const bidi: Record<number, [string, string]> = {
  0x061c: ["ALM", "Arabic letter mark"],
  0x200e: ["LRM", "left-to-right mark"],
  0x200f: ["RLM", "right-to-left mark"],
  0x202a: ["LRE", "left-to-right embedding"],
  0x202b: ["RLE", "right-to-left embedding"],
  0x202c: ["PDF", "pop directional formatting"],
  0x202d: ["LRO", "left-to-right override"],
  0x202e: ["RLO", "right-to-left override"],
  0x2066: ["LRI", "left-to-right isolate"],
  0x2067: ["RLI", "right-to-left isolate"],
  0x2068: ["FSI", "first strong isolate"],
  0x2069: ["PDI", "pop directional isolate"],
};

const named: Record<number, [string, string]> = {
  0x00ad: ["SHY", "soft hyphen"],
  0x034f: ["CGJ", "combining grapheme joiner"],
  0x200b: ["ZWSP", "zero-width space"],
  0x200c: ["ZWNJ", "zero-width non-joiner"],
  0x200d: ["ZWJ", "zero-width joiner"],
  0x2060: ["WJ", "word joiner"],
  0xfeff: ["BOM", "zero-width no-break space"],
  0x3164: ["HF", "Hangul filler"],
  0xfffd: ["?", "replacement character: bytes that are not text"],
};

const spaces: Record<number, [string, string]> = {
  0x0085: ["NEL", "next line"],
  0x00a0: ["NBSP", "no-break space"],
  0x2028: ["LS", "line separator"],
  0x2029: ["PS", "paragraph separator"],
  0x202f: ["NNBSP", "narrow no-break space"],
  0x3000: ["IDSP", "ideographic space"],
};

// Letters and signs that look like an ASCII one. Not complete, and it need not
// be: classification works on the bytes; this only helps the eye.
const alike = new Map<string, string>();
const pairs =
  "аa еe оo рp сc уy хx ѕs іi јj ԁd һh ԛq ԝw АA ВB ЕE КK МM НH ОO РP СC ТT ХX ЅS ІI ЈJ УY ѵv " +
  "αa οo νv ρp υu ιi κk τt ΑA ΒB ΕE ΖZ ΗH ΙI ΚK ΜM ΝN ΟO ΡP ΤT ΥY ΧX " +
  "օo սu հh ոn ցg ıi ɑa ɡg ℓl ⅼl ⅰi ⅴv ⅹx ";
for (const p of pairs.split(" ")) {
  const [from, to] = [...p];
  if (from && to) alike.set(from, to);
}
// Signs count on their own, not only inside a mixed word.
const signs = new Map<string, string>([
  ["\u2018", "'"], ["\u2019", "'"], ["\u201b", "'"], ["\u02bc", "'"], ["\u02b9", "'"], ["\u2032", "'"],
  ["\u201c", '"'], ["\u201d", '"'], ["\u2033", '"'],
  ["\u037e", ";"], ["\u2010", "-"], ["\u2011", "-"], ["\u2012", "-"], ["\u2013", "-"], ["\u2014", "-"], ["\u2015", "-"], ["\u2212", "-"],
  ["\u2217", "*"], ["\u204e", "*"], ["\u2044", "/"], ["\u2215", "/"], ["\u2024", "."], ["\u201a", ","], ["\ua789", ":"], ["\u2236", ":"],
  ["\u2264\u0338", "<"], ["\uff0d", "-"],
]);

const c0 = "NUL SOH STX ETX EOT ENQ ACK BEL BS TAB LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US".split(" ");

const longSpaces = 48;
const longBreaks = 6;

// One pass: line ends, runs of white space, words, and everything suspicious
// on its own. What no branch takes is plain text.
const scan = new RegExp(
  [
    `(?<breaks>(?:\\r?\\n[ \\t]*){${longBreaks},})`,
    `(?<spaces>[ \\t]{${longSpaces},})`,
    "(?<crlf>\\r\\n)",
    "(?<control>[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u0084\\u0086-\\u009f]|[\\ud800-\\udfff])",
    "(?<bidi>[\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069])",
    "(?<invisible>[\\u00ad\\u034f\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200d\\u2060-\\u2065\\u206a-\\u206f\\u2800\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0\\ufff0-\\ufffb\\ufffd]|[\\u{e0000}-\\u{e0fff}\\u{1d173}-\\u{1d17a}\\u{1bca0}-\\u{1bca3}])",
    "(?<space>[\\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000])",
    "(?<stack>\\p{M}{4,})",
    "(?<word>[\\p{L}\\p{N}_]+)",
    "(?<sign>[\\uff01-\\uff0f\\uff1a-\\uff20\\uff3b-\\uff40\\uff5b-\\uff5e\\u2010-\\u2015\\u2018\\u2019\\u201a\\u201b-\\u201d\\u02bc\\u02b9\\u2024\\u2032\\u2033\\u2044\\u204e\\u2212\\u2215\\u2217\\u2236\\u037e\\ua789])",
  ].join("|"),
  "gu",
);

const hex = (n: number) => "U+" + n.toString(16).toUpperCase().padStart(4, "0");

const single = new Set<MarkKind>(["control", "bidi", "invisible", "space"]);

/** Splits text into plain and marked segments. Joined, they are the text. */
export function segments(text: string): Segment[] {
  const out: Segment[] = [];
  let plain = "";
  let last = 0;
  const flush = () => {
    if (plain) out.push({ text: plain });
    plain = "";
  };
  const put = (s: string, m: Omit<Mark, "n">) => {
    flush();
    // The same character again and again is one mark with a number.
    let n = 1;
    if (single.has(m.kind)) {
      while (text.startsWith(s, last)) {
        last += s.length;
        n++;
      }
      scan.lastIndex = last;
    }
    out.push(n === 1 ? { text: s, mark: { ...m, n } } : { text: s.repeat(n), mark: { ...m, shown: `${m.shown}×${n}`, n } });
  };
  scan.lastIndex = 0;
  for (let m = scan.exec(text); m; m = scan.exec(text)) {
    plain += text.slice(last, m.index);
    const s = m[0];
    last = m.index + s.length;
    const g = m.groups ?? {};
    const code = s.codePointAt(0) ?? 0;
    if (g.breaks !== undefined) {
      const n = s.split("\n").length - 1;
      put(s, { kind: "run", shown: `${n - 1} empty lines`, title: `${n} line ends with nothing between them`, breaks: true });
    } else if (g.spaces !== undefined) {
      // An indented line is not a trick; a gap in the middle of one may be.
      put(s, { kind: "run", shown: `${s.length} spaces`, title: `${s.length} spaces in a row` });
    } else if (g.crlf !== undefined) {
      plain += s;
    } else if (g.control !== undefined) {
      // Names, not the pictures of U+2400: many fonts have none.
      if (code < 0x20) put(s, { kind: "control", shown: c0[code] ?? hex(code), title: `${hex(code)} control character`, breaks: code === 13 });
      else if (code === 0x7f) put(s, { kind: "control", shown: "DEL", title: "U+007F delete" });
      else put(s, { kind: "control", shown: hex(code), title: `${hex(code)} ${code >= 0xd800 ? "half of a surrogate pair" : "control character"}` });
    } else if (g.bidi !== undefined) {
      const [short, name] = bidi[code] ?? [hex(code), "direction mark"];
      put(s, { kind: "bidi", shown: short, title: `${hex(code)} ${name}: it changes the order in which text is shown` });
    } else if (g.invisible !== undefined) {
      const [short, name] = named[code] ?? [hex(code), "character without a shape"];
      put(s, { kind: "invisible", shown: short, title: `${hex(code)} ${name}` });
    } else if (g.space !== undefined) {
      const [short, name] = spaces[code] ?? [hex(code), "unusual space"];
      put(s, { kind: "space", shown: short, title: `${hex(code)} ${name}: the server may not take it for a space`, breaks: code === 0x2028 || code === 0x2029 || code === 0x85 });
    } else if (g.stack !== undefined) {
      put(s, { kind: "invisible", shown: `${[...s].length} combining marks`, title: "combining marks stacked on one letter" });
    } else if (g.sign !== undefined) {
      put(s, { kind: "sign", shown: s, title: `${hex(code)}: looks like ${wide(s) || (signs.get(s) ?? "another sign")}, and is not` });
    } else {
      const like = ascii.test(s) ? "" : lookalike(s);
      if (like) put(s, { kind: "lookalike", shown: `${s} ${foreign(s)}`, title: `looks like “${like}”, and is not: ${foreign(s)}` });
      else plain += s;
    }
  }
  plain += text.slice(last);
  flush();
  return out;
}

const ascii = /^[\0-\x7f]*$/;

/** The ASCII character of a full-width one, or "". */
const wide = (c: string): string => (c >= "\uff01" && c <= "\uff5e" ? String.fromCharCode(c.charCodeAt(0) - 0xfee0) : "");

// A word written wholly in another script is a word. One that mixes ASCII with
// letters that look like ASCII, or that consists of nothing but those, is a
// trap.
function lookalike(word: string): string {
  let latin = false;
  let other = false;
  let fake = false;
  let to = "";
  for (const c of word) {
    const a = alike.get(c) ?? wide(c);
    if (a) {
      fake = true;
      to += a;
      continue;
    }
    to += c;
    if (/[A-Za-z]/.test(c)) latin = true;
    else if (/\p{L}/u.test(c)) other = true;
  }
  return fake && (latin || !other) ? to : "";
}

function foreign(word: string): string {
  const out: string[] = [];
  for (const c of word) {
    if (alike.has(c) || wide(c)) out.push(hex(c.codePointAt(0) ?? 0));
    if (out.length === 4) break;
  }
  return out.join(", ");
}

/** A warning for the reviewer, one for each kind of mark found. */
export interface Warning {
  kind: MarkKind;
  count: number;
  text: string;
}

const say: Record<MarkKind, (n: number) => string> = {
  bidi: (n) => `${n} character${s(n)} that change${n === 1 ? "s" : ""} the order in which text is shown`,
  control: (n) => `${n} control character${s(n)}`,
  invisible: (n) => `${n} invisible character${s(n)}`,
  space: (n) => `${n} unusual space${s(n)}`,
  lookalike: (n) => `${n} place${s(n)} where a letter looks like another one`,
  sign: (n) => `${n} sign${s(n)} that look${n === 1 ? "s" : ""} like another one`,
  run: (n) => `${n} long gap${s(n)} of white space`,
};
const s = (n: number) => (n === 1 ? "" : "s");
const order: MarkKind[] = ["bidi", "control", "invisible", "lookalike", "space", "run"];

/** Counts what could mislead, the worst first. Signs alone are no reason to warn. */
export function warnings(text: string): Warning[] {
  const n = new Map<MarkKind, number>();
  for (const seg of segments(text)) if (seg.mark) n.set(seg.mark.kind, (n.get(seg.mark.kind) ?? 0) + seg.mark.n);
  return order.flatMap((kind) => {
    const count = n.get(kind);
    return count ? [{ kind, count, text: say[kind](count) }] : [];
  });
}

/** Segments as one plain text, with every mark spelled out. */
export function spell(segs: Segment[]): string {
  return segs.map((x) => (x.mark && x.mark.kind !== "sign" ? `⟨${x.mark.shown}⟩${x.mark.breaks ? "\n" : ""}` : x.text)).join("");
}

/** Plain text in one line for lists and titles: marks spelled out, length bounded. */
export function oneLine(text: string, max = 200): string {
  const cut = text.length > max * 4 ? text.slice(0, max * 4) : text;
  const flat = spell(segments(cut.replace(/\r?\n|[\t ]+/g, " ").replace(/ {2,}/g, " ").trim())).replaceAll("\n", " ");
  const chars = [...flat];
  return chars.length > max || cut.length < text.length ? chars.slice(0, max).join("") + "…" : flat;
}

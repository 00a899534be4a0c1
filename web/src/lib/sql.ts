// A tokenizer for colouring PostgreSQL statements. It decides nothing: the
// server classifies with PostgreSQL's own grammar. It must still agree with
// that grammar on where strings and comments end, or the colours would lie.
// Joined, the tokens are the text.

export type TokenKind =
  | "keyword"
  | "write" // a keyword that changes things
  | "name"
  | "quoted"
  | "string"
  | "number"
  | "param"
  | "comment"
  | "operator"
  | "punct"
  | "space";

export interface Token {
  kind: TokenKind;
  text: string;
  /** A string, quoted name or comment that never ends. */
  open?: boolean;
}

const writes = new Set(
  "insert update delete merge truncate drop alter create grant revoke reindex vacuum cluster refresh comment call do copy lock reassign import security".split(" "),
);

const keywords = new Set(
  (
    "all analyse analyze and any array as asc asymmetric authorization begin between both by cascade case cast check collate collation column columns commit " +
    "concurrently conflict constraint cross current current_date current_role current_time current_timestamp current_user cursor cycle database declare default deferrable " +
    "desc distinct else end escape except execute exists explain extension extract false fetch filter first following for foreign from full function generated group grouping " +
    "having if ilike in index initially inner instead intersect interval into is isnull join key language last lateral leading left level like limit local " +
    "localtime localtimestamp materialized natural next no not nothing notnull null nulls of off offset on only option or order outer over overlaps owner partition " +
    "policy preceding prepare primary procedure range recursive references release rename replace reset restart restrict return returning right role rollback rollup row rows " +
    "savepoint schema select sequence session session_user set setof sets show similar some start symmetric table tablesample temp temporary then ties to trailing " +
    "transaction trigger true type unbounded union unique unlogged user using values variadic verbose view when where window with within without"
  ).split(" "),
);

const isStart = (c: number) => (c >= 65 && c <= 90) || (c >= 97 && c <= 122) || c === 95 || c >= 128;
const isDigit = (c: number) => c >= 48 && c <= 57;
const isPart = (c: number) => isStart(c) || isDigit(c) || c === 36;
const isSpace = (c: number) => c === 32 || (c >= 9 && c <= 13);
const operators = new Set("+-*/<>=~!@#%^&|`?:");

/** Splits a statement into tokens. Joined, they are the statement. */
export function tokenize(text: string): Token[] {
  const out: Token[] = [];
  const n = text.length;
  let i = 0;
  const push = (kind: TokenKind, end: number, open = false) => {
    out.push(open ? { kind, text: text.slice(i, end), open } : { kind, text: text.slice(i, end) });
    i = end;
  };
  while (i < n) {
    const c = text.charCodeAt(i);
    const d = i + 1 < n ? text.charCodeAt(i + 1) : 0;
    if (isSpace(c)) {
      let e = i + 1;
      while (e < n && isSpace(text.charCodeAt(e))) e++;
      push("space", e);
    } else if (c === 45 && d === 45) {
      // A lone carriage return ends a comment too, in PostgreSQL.
      let e = i + 2;
      while (e < n && text[e] !== "\n" && text[e] !== "\r") e++;
      push("comment", e);
    } else if (c === 47 && d === 42) {
      let e = i + 2;
      let depth = 1;
      while (e < n && depth > 0) {
        if (text[e] === "/" && text[e + 1] === "*") {
          depth++;
          e += 2;
        } else if (text[e] === "*" && text[e + 1] === "/") {
          depth--;
          e += 2;
        } else e++;
      }
      push("comment", Math.min(e, n), depth > 0);
    } else if (c === 39) {
      quote(text, i, "'", false, "string");
    } else if (c === 34) {
      quote(text, i, '"', false, "quoted");
    } else if (c === 36 && isDigit(d)) {
      let e = i + 2;
      while (e < n && isDigit(text.charCodeAt(e))) e++;
      push("param", e);
    } else if (c === 36) {
      dollar();
    } else if (isStart(c)) {
      const lower = text[i]?.toLowerCase();
      if (d === 39 && (lower === "e" || lower === "b" || lower === "x" || lower === "n")) {
        quote(text, i + 1, "'", lower === "e", "string");
        continue;
      }
      if (lower === "u" && d === 38 && (text[i + 2] === "'" || text[i + 2] === '"')) {
        const q = text[i + 2] as string;
        quote(text, i + 2, q, false, q === "'" ? "string" : "quoted");
        continue;
      }
      let e = i + 1;
      while (e < n && isPart(text.charCodeAt(e))) e++;
      const word = text.slice(i, e).toLowerCase();
      // What stands beside a dot is a name, whatever it is called.
      const dotted = text[e] === "." || (i > 0 && text[i - 1] === ".");
      push(dotted ? "name" : writes.has(word) ? "write" : keywords.has(word) ? "keyword" : "name", e);
    } else if (isDigit(c) || (c === 46 && isDigit(d))) {
      const m = /^(?:0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|(?:\d[\d_]*)?(?:\.\d[\d_]*|\.(?!\.))?(?:[eE][+-]?\d+)?)/.exec(text.slice(i, i + 400));
      push("number", i + Math.max(1, m?.[0].length ?? 1));
    } else if (operators.has(text[i] as string)) {
      let e = i + 1;
      // An operator ends where a comment begins.
      while (e < n && operators.has(text[e] as string) && !(text[e] === "-" && text[e + 1] === "-") && !(text[e] === "/" && text[e + 1] === "*")) e++;
      push("operator", e);
    } else {
      push("punct", i + 1);
    }
  }
  return out;

  function quote(t: string, from: number, q: string, escapes: boolean, kind: TokenKind) {
    let e = from + 1;
    for (;;) {
      if (e >= n) return push(kind, n, true);
      const ch = t[e];
      if (escapes && ch === "\\") e += 2;
      else if (ch === q) {
        if (t[e + 1] === q) e += 2;
        else return push(kind, e + 1);
      } else e++;
    }
  }

  function dollar() {
    const m = /^\$(?:[A-Za-z_\u0080-\uffff][A-Za-z0-9_\u0080-\uffff]*)?\$/.exec(text.slice(i, i + 80));
    if (!m) return push("punct", i + 1);
    const end = text.indexOf(m[0], i + m[0].length);
    if (end < 0) push("string", n, true);
    else push("string", end + m[0].length);
  }
}

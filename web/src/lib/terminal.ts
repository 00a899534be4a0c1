// A small terminal that only draws. It gets what the server's filter let
// through (internal/replay, Filter) and knows no more than that: text, CR, LF,
// TAB, BS, and the sequences that move, colour, erase, insert, delete, scroll
// and switch to the other screen. All else is dropped here once more. It has
// no way to answer, to reach the page, or to grow without bound.

/** How a cell looks. Each change makes a new one, so that equal ones are the same. */
export interface Look {
  cls: string; // class names, "" for plain text
}

export interface Cell {
  ch: string; // with its combining characters; "" for the right half of a wide one
  look: Look;
}

/** One line. After lines() gave it out it is replaced when it changes, so a line that is the same object looks the same. */
export interface Line {
  id: number;
  cells: Cell[];
  age: number; // how often lines() had been called when it was made
}

const maxColumns = 1000;
const maxRows = 500;
const maxScrollback = 2000;
const maxMarks = 8; // combining characters on one cell
// Cells that one write may change: a few bytes can ask for a whole screen, and
// thousands of them would keep the page busy for hours.
const maxWork = 2_000_000;
const leastWork = 100_000; // what is left to one after others asked for too much

const plainLook: Look = { cls: "" };
const blank: Cell = { ch: " ", look: plainLook };

// The lines of boxes, as ESC ( 0 draws them.
const boxes: Record<string, string> = {
  "`": "◆", a: "▒", f: "°", g: "±", j: "┘", k: "┐", l: "┌", m: "└", n: "┼", o: "⎺", p: "⎻", q: "─", r: "⎼", s: "⎽",
  t: "├", u: "┤", v: "┴", w: "┬", x: "│", y: "≤", z: "≥", "{": "π", "|": "≠", "}": "£", "~": "·",
};

const token = /\x1b\[([?0-9;:]*)([@-~])|\x1b\(([0B])|\x1b([78DEM])|([\r\n\t\b])|[\x00-\x1f\x7f-\x9f]|([^\x00-\x1f\x7f-\x9f]+)/gu;

/** The text of what the filter let through, without any sequence: nothing overwrites anything. */
export function plain(drawn: string): string {
  let out = "";
  let elsewhere = false;
  for (const m of drawn.matchAll(token)) {
    if (m[6] !== undefined || m[5] === "\n" || m[5] === "\t") {
      if (elsewhere && m[5] !== "\n" && out && !out.endsWith("\n")) out += "\n";
      elsewhere = false;
      out += m[0];
    } else if (m[5] === "\r" || (m[2] !== undefined && "HfdEFABD".includes(m[2])) || (m[4] !== undefined && "DE".includes(m[4]))) elsewhere = true;
  }
  return out;
}

interface Style {
  fg: number; // -1: the default
  bg: number;
  flags: ReadonlySet<string>;
}

const noStyle: Style = { fg: -1, bg: -1, flags: new Set() };
const looks = new Map<string, Look>();

function lookOf(s: Style): Look {
  const inverse = s.flags.has("inverse");
  const fg = inverse ? s.bg : s.fg;
  const bg = inverse ? s.fg : s.bg;
  const names = [...s.flags].filter((f) => f !== "inverse" || (s.fg < 0 && s.bg < 0)).sort();
  if (fg >= 0) names.push(`fg${fg}`);
  else if (inverse && bg >= 0) names.push("fg-ground");
  if (bg >= 0) names.push(`bg${bg}`);
  else if (inverse && fg >= 0) names.push("bg-ink");
  const cls = names.map((n) => "tm-" + n).join(" ");
  if (!cls) return plainLook;
  let look = looks.get(cls);
  if (!look) looks.set(cls, (look = { cls }));
  return look;
}

// The 16 colours that have a class; others become the nearest of them.
const palette = [
  [0, 0, 0], [205, 0, 0], [0, 205, 0], [205, 205, 0], [0, 0, 238], [205, 0, 205], [0, 205, 205], [229, 229, 229],
  [127, 127, 127], [255, 0, 0], [0, 255, 0], [255, 255, 0], [92, 92, 255], [255, 0, 255], [0, 255, 255], [255, 255, 255],
] as const;

function nearest(r: number, g: number, b: number): number {
  let best = 0;
  let least = Infinity;
  palette.forEach((p, i) => {
    const d = (p[0] - r) ** 2 + (p[1] - g) ** 2 + (p[2] - b) ** 2;
    if (d < least) [best, least] = [i, d];
  });
  return best;
}

function indexed(n: number): number {
  if (n < 16) return n;
  if (n > 255) return -1;
  if (n >= 232) return nearest(8 + (n - 232) * 10, 8 + (n - 232) * 10, 8 + (n - 232) * 10);
  const level = (x: number) => (x === 0 ? 0 : 55 + 40 * x);
  return nearest(level(Math.floor((n - 16) / 36)), level(Math.floor((n - 16) / 6) % 6), level((n - 16) % 6));
}

/** How many columns a character takes. */
function width(code: number): number {
  if (code < 0x300) return 1;
  if (/^\p{M}$/u.test(String.fromCodePoint(code))) return 0;
  const wide = (code >= 0x1100 && code <= 0x115f) || (code >= 0x2e80 && code <= 0x303e) || (code >= 0x3041 && code <= 0xa4cf) || (code >= 0xac00 && code <= 0xd7a3) || (code >= 0xf900 && code <= 0xfaff) || (code >= 0xfe30 && code <= 0xfe6f) || (code >= 0xff00 && code <= 0xff60) || (code >= 0xffe0 && code <= 0xffe6) || (code >= 0x1f300 && code <= 0x1f64f) || (code >= 0x1f900 && code <= 0x1f9ff) || (code >= 0x20000 && code <= 0x3fffd);
  return wide ? 2 : 1;
}

const clamp = (n: number, lo: number, hi: number) => Math.min(Math.max(n, lo), hi);

/** "80x24" as numbers, within bounds. */
export function parseSize(s: string): [columns: number, rows: number] | undefined {
  const m = /^(\d{1,5})x(\d{1,5})$/.exec(s);
  if (!m) return undefined;
  return [clamp(Number(m[1]), 1, maxColumns), clamp(Number(m[2]), 1, maxRows)];
}

interface Saved {
  x: number;
  y: number;
  style: Style;
}

export class Screen {
  columns: number;
  rows: number;
  x = 0;
  y = 0;
  cursor = true;
  skipped = false; // a write was more work than is done for one
  private left = 0; // of the work for this write
  private work = maxWork; // for one write
  private age = 0;
  private ids = 0;
  private grid: Line[] = [];
  private scrolled: Line[] = [];
  private other: Line[] | undefined; // the first screen, while the other is shown
  private saved: Saved = { x: 0, y: 0, style: noStyle };
  private style: Style = noStyle;
  private look: Look = plainLook;
  private top = 0;
  private bottom: number;
  private insert = false;
  private origin = false;
  private wraps = true;
  private drawing = false;
  private pending = false; // the next character goes to the next line
  private last = ""; // for REP

  constructor(columns = 80, rows = 24) {
    this.columns = clamp(columns, 1, maxColumns);
    this.rows = clamp(rows, 1, maxRows);
    this.bottom = this.rows - 1;
    for (let i = 0; i < this.rows; i++) this.grid.push(this.fresh());
  }

  /** What was scrolled away, and the screen below it. */
  lines(): Line[] {
    this.age++;
    return [...this.scrolled, ...this.grid];
  }

  /** The line that the cursor is in, among lines(). */
  cursorLine(): number {
    return this.scrolled.length + this.y;
  }

  /** Draws. With returns, a line feed goes to the start of the line. */
  write(drawn: string, returns: boolean): void {
    this.left = this.work;
    for (const m of drawn.matchAll(token)) {
      if (this.left < 0) {
        this.skipped = true;
        this.work = Math.max(leastWork, this.work / 2);
        return;
      }
      if (m[6] !== undefined) for (const ch of m[6]) this.put(ch);
      else if (m[5] !== undefined) this.control(m[5], returns);
      else if (m[2] !== undefined) this.sequence(m[1] ?? "", m[2]);
      else if (m[3] !== undefined) this.drawing = m[3] === "0";
      else if (m[4] !== undefined) this.escape(m[4]);
    }
  }

  resize(columns: number, rows: number): void {
    columns = clamp(columns, 1, maxColumns);
    rows = clamp(rows, 1, maxRows);
    const fit = (grid: Line[]) => {
      while (grid.length < rows) grid.push(this.fresh());
      return grid.map((l) => (l.cells.length > columns ? { ...l, cells: l.cells.slice(0, columns) } : l));
    };
    const over = clamp(this.y - rows + 1, 0, this.grid.length);
    const gone = this.grid.splice(0, over);
    if (!this.other) this.keep(gone);
    this.grid = fit(this.grid).slice(0, rows);
    if (this.other) this.other = fit(this.other).slice(0, rows);
    this.columns = columns;
    this.rows = rows;
    this.y = clamp(this.y - over, 0, rows - 1);
    this.x = clamp(this.x, 0, columns - 1);
    this.top = 0;
    this.bottom = rows - 1;
    this.pending = false;
  }

  private fresh(): Line {
    return { id: ++this.ids, cells: [], age: this.age };
  }

  private keep(lines: Line[]): void {
    this.scrolled.push(...lines);
    // More than there must be, so that it is seldom.
    if (this.scrolled.length > maxScrollback) this.scrolled.splice(0, this.scrolled.length - (maxScrollback >> 1));
  }

  /** The cells of a line, to be changed: cells past the end are blank. */
  private edit(y: number): Cell[] {
    const l = this.grid[y] ?? this.fresh();
    if (l.age === this.age) return l.cells;
    const cells = l.cells.slice();
    this.left -= cells.length;
    this.grid[y] = { id: l.id, cells, age: this.age };
    return cells;
  }

  private put(ch: string): void {
    this.left -= this.insert ? this.columns : 1;
    const w = width(ch.codePointAt(0) ?? 0);
    if (w === 0) {
      const at = this.pending ? this.x : this.x - 1;
      const cells = this.edit(this.y);
      const c = cells[at];
      if (c && c.ch.length < maxMarks) cells[at] = { ch: c.ch + ch, look: c.look };
      return;
    }
    if (this.drawing) ch = boxes[ch] ?? ch;
    if (this.pending || (w === 2 && this.x === this.columns - 1 && this.wraps)) {
      this.x = 0;
      this.feed();
    }
    const cells = this.edit(this.y);
    while (cells.length < this.x) cells.push(blank);
    const cell: Cell = { ch, look: this.look };
    const add = w === 2 ? [cell, { ch: "", look: this.look }] : [cell];
    cells.splice(this.x, this.insert ? 0 : add.length, ...add);
    cells.length = Math.min(cells.length, this.columns);
    this.last = ch;
    this.x += w;
    this.pending = this.x >= this.columns && this.wraps;
    if (this.x >= this.columns) this.x = this.columns - 1;
  }

  private control(c: string, returns: boolean): void {
    if (c === "\n") {
      if (returns) this.x = 0;
      this.feed();
      return;
    }
    this.pending = false;
    if (c === "\r") this.x = 0;
    else if (c === "\b") this.x = Math.max(0, this.x - 1);
    else this.x = Math.min(this.columns - 1, (Math.floor(this.x / 8) + 1) * 8);
  }

  /** Goes down a line, and scrolls at the end of what scrolls. */
  private feed(): void {
    this.pending = false;
    if (this.y === this.bottom) this.scroll(1);
    else if (this.y < this.rows - 1) this.y++;
  }

  private scroll(n: number, from = this.top): void {
    const many = Math.min(Math.abs(n), this.bottom - from + 1);
    if (many <= 0) return;
    this.left -= this.rows + many;
    const add = Array.from({ length: many }, () => this.fresh());
    if (n > 0) {
      const gone = this.grid.splice(from, many);
      if (from === 0 && !this.other) this.keep(gone);
      this.grid.splice(this.bottom - many + 1, 0, ...add);
    } else {
      this.grid.splice(this.bottom - many + 1, many);
      this.grid.splice(from, 0, ...add);
    }
  }

  private escape(c: string): void {
    this.pending = false;
    if (c === "7") this.saved = { x: this.x, y: this.y, style: this.style };
    else if (c === "8") this.restore();
    else if (c === "M") {
      if (this.y === this.top) this.scroll(-1);
      else if (this.y > 0) this.y--;
    } else {
      if (c === "E") this.x = 0;
      this.feed();
    }
  }

  private restore(): void {
    this.x = clamp(this.saved.x, 0, this.columns - 1);
    this.y = clamp(this.saved.y, 0, this.rows - 1);
    this.setStyle(this.saved.style);
  }

  private setStyle(s: Style): void {
    this.style = s;
    this.look = lookOf(s);
  }

  private moveTo(x: number, y: number): void {
    const lo = this.origin ? this.top : 0;
    const hi = this.origin ? this.bottom : this.rows - 1;
    this.x = clamp(x, 0, this.columns - 1);
    this.y = clamp(y + lo, lo, hi);
  }

  private sequence(params: string, final: string): void {
    const isPrivate = params.startsWith("?");
    const list = (isPrivate ? params.slice(1) : params).split(";");
    if (final === "h" || final === "l") {
      for (const p of list) this.mode(isPrivate, Number(p), final === "h");
      return;
    }
    if (isPrivate || params.includes("?")) return;
    if (final === "m") {
      this.graphics(list);
      return;
    }
    if (params.includes(":") || list.some((p) => p.length > 4)) return;
    const n = (i: number, otherwise: number) => Number(list[i] || "0") || otherwise;
    if (final === "b") {
      if (this.last) for (let i = Math.min(n(0, 1), this.columns * this.rows); i > 0 && this.left >= 0; i--) this.put(this.last);
      return;
    }
    this.pending = false;
    const up = this.y >= this.top ? this.top : 0;
    const down = this.y <= this.bottom ? this.bottom : this.rows - 1;
    switch (final) {
      case "A":
        this.y = Math.max(up, this.y - n(0, 1));
        break;
      case "B":
      case "e":
        this.y = Math.min(down, this.y + n(0, 1));
        break;
      case "C":
      case "a":
        this.x = Math.min(this.columns - 1, this.x + n(0, 1));
        break;
      case "D":
        this.x = Math.max(0, this.x - n(0, 1));
        break;
      case "E":
        this.x = 0;
        this.y = Math.min(down, this.y + n(0, 1));
        break;
      case "F":
        this.x = 0;
        this.y = Math.max(up, this.y - n(0, 1));
        break;
      case "G":
      case "`":
        this.x = clamp(n(0, 1) - 1, 0, this.columns - 1);
        break;
      case "d":
        this.moveTo(this.x, n(0, 1) - 1);
        break;
      case "H":
      case "f":
        this.moveTo(n(1, 1) - 1, n(0, 1) - 1);
        break;
      case "I":
        this.x = Math.min(this.columns - 1, (Math.floor(this.x / 8) + n(0, 1)) * 8);
        break;
      case "Z":
        this.x = Math.max(0, (Math.ceil(this.x / 8) - n(0, 1)) * 8);
        break;
      case "J":
        this.eraseScreen(n(0, 0));
        break;
      case "K":
        this.eraseLine(n(0, 0));
        break;
      case "L":
      case "M":
        if (this.y >= this.top && this.y <= this.bottom) {
          const gone = this.scrolled.length;
          this.scroll(final === "L" ? -n(0, 1) : n(0, 1), this.y);
          if (this.y === 0 && final === "M") this.scrolled.length = gone; // deleted, not scrolled away
        }
        break;
      case "P":
        this.left -= this.columns;
        this.edit(this.y).splice(this.x, n(0, 1));
        break;
      case "X":
        this.fill(this.y, this.x, Math.min(this.columns, this.x + n(0, 1)));
        break;
      case "@": {
        this.left -= this.columns;
        const cells = this.edit(this.y);
        if (cells.length > this.x) {
          cells.splice(this.x, 0, ...Array.from({ length: Math.min(n(0, 1), this.columns) }, () => blank));
          cells.length = Math.min(cells.length, this.columns);
        }
        break;
      }
      case "S":
        this.scroll(n(0, 1));
        break;
      case "T":
        this.scroll(-n(0, 1));
        break;
      case "r": {
        const top = n(0, 1) - 1;
        const bottom = Math.min(n(1, this.rows), this.rows) - 1;
        if (top < bottom) {
          this.top = top;
          this.bottom = bottom;
          this.moveTo(0, 0);
        }
        break;
      }
      case "s":
        this.saved = { x: this.x, y: this.y, style: this.style };
        break;
      case "u":
        this.restore();
        break;
    }
  }

  private fill(y: number, from: number, to: number): void {
    this.left -= to;
    const cells = this.edit(y);
    const cell = { ch: " ", look: lookOf({ ...noStyle, bg: this.style.bg }) };
    while (cells.length < from) cells.push(blank);
    for (let x = from; x < to; x++) cells[x] = cell;
  }

  private eraseLine(how: number): void {
    if (how === 0) this.fill(this.y, this.x, this.columns);
    else if (how === 1) this.fill(this.y, 0, this.x + 1);
    else this.fill(this.y, 0, this.columns);
  }

  private eraseScreen(how: number): void {
    if (how > 2) return;
    this.left -= this.rows;
    if (how < 2) this.eraseLine(how);
    const from = how === 0 ? this.y + 1 : 0;
    const to = how === 1 ? this.y : this.rows;
    // What is wiped away can still be scrolled to: nobody hides what was shown.
    if (how === 2 && !this.other) {
      const end = this.grid.findLastIndex((l) => l.cells.some((c) => c.ch.trim()));
      this.keep(this.grid.slice(0, end + 1));
    }
    for (let y = from; y < to; y++) {
      this.grid[y] = this.fresh();
      if (this.style.bg >= 0) this.fill(y, 0, this.columns);
    }
  }

  private mode(isPrivate: boolean, n: number, on: boolean): void {
    if (!isPrivate) {
      if (n === 4) this.insert = on;
      return;
    }
    switch (n) {
      case 6:
        this.origin = on;
        this.moveTo(0, 0);
        break;
      case 7:
        this.wraps = on;
        break;
      case 25:
        this.cursor = on;
        break;
      case 47:
      case 1047:
      case 1048:
      case 1049:
        if (on && n >= 1048) this.saved = { x: this.x, y: this.y, style: this.style };
        if (n !== 1048) this.flip(on);
        if (!on && n >= 1048) this.restore();
        break;
    }
  }

  private flip(on: boolean): void {
    if (on === (this.other !== undefined)) return;
    this.left -= this.rows;
    if (on) {
      this.other = this.grid;
      this.grid = Array.from({ length: this.rows }, () => this.fresh());
    } else {
      this.grid = this.other ?? this.grid;
      this.other = undefined;
    }
    this.pending = false;
  }

  private graphics(list: string[]): void {
    let { fg, bg } = this.style;
    const flags = new Set(this.style.flags);
    const set = (on: boolean, name: string) => (on ? flags.add(name) : flags.delete(name));
    for (let i = 0; i < list.length; i++) {
      const parts = (list[i] ?? "").split(":");
      const n = Number(parts[0] || "0");
      if (n === 0) {
        fg = bg = -1;
        flags.clear();
      } else if (n === 38 || n === 48 || n === 58) {
        let color = -1;
        if (parts.length > 1) {
          const v = parts.slice(2).map(Number);
          color = parts[1] === "5" ? indexed(v[0] ?? 256) : parts[1] === "2" ? nearest(v.at(-3) ?? 0, v.at(-2) ?? 0, v.at(-1) ?? 0) : -1;
        } else if (list[i + 1] === "5") {
          color = indexed(Number(list[i + 2] ?? 256));
          i += 2;
        } else if (list[i + 1] === "2") {
          color = nearest(Number(list[i + 2] ?? 0), Number(list[i + 3] ?? 0), Number(list[i + 4] ?? 0));
          i += 4;
        }
        if (n === 38) fg = color;
        else if (n === 48) bg = color;
      } else if (n === 1) set(true, "bold");
      else if (n === 2) set(true, "dim");
      else if (n === 3 || n === 23) set(n === 3, "italic");
      else if (n === 4 || n === 21 || n === 24) set(n !== 24 && parts[1] !== "0", "under");
      else if (n === 7 || n === 27) set(n === 7, "inverse");
      else if (n === 9 || n === 29) set(n === 9, "struck");
      else if (n === 22) {
        flags.delete("bold");
        flags.delete("dim");
      } else if (n >= 30 && n <= 37) fg = n - 30;
      else if (n === 39) fg = -1;
      else if (n >= 40 && n <= 47) bg = n - 40;
      else if (n === 49) bg = -1;
      else if (n >= 90 && n <= 97) fg = n - 82;
      else if (n >= 100 && n <= 107) bg = n - 92;
      // 8, conceal, is not known here: what is recorded is shown.
    }
    this.setStyle({ fg, bg, flags });
  }
}

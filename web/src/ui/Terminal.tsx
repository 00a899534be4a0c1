import { memo, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import type { Entry } from "../api/types";
import { upTo } from "../lib/replay";
import { parseSize, Screen, type Cell, type Line } from "../lib/terminal";

/** What is drawn, and how far. */
interface Drawn {
  entries: Entry[];
  screen: Screen;
  done: number; // entries that are drawn
  terminals: Set<number>; // requests whose output comes from a terminal
}

function begin(entries: Entry[]): Drawn {
  const first = entries.find((e) => parseSize(e.size));
  const size = parseSize(first?.size ?? "") ?? [80, 24];
  return { entries, screen: new Screen(...size), done: 0, terminals: new Set() };
}

function draw(d: Drawn, e: Entry): void {
  const size = parseSize(e.size);
  if (size && (size[0] !== d.screen.columns || size[1] !== d.screen.rows)) d.screen.resize(...size);
  if (e.kind === "request") {
    if (size) d.terminals.add(e.request);
    // On a line of its own. It is a help for the eye only: the list below is
    // what cannot be forged.
    const line = `#${e.request} ${e.decision}${e.rule ? `, rule ${e.rule}` : ""}: ${e.statement.replace(/\s+/g, " ").slice(0, 500)}`;
    d.screen.write(`${d.screen.x > 0 ? "\r\n" : ""}\x1b[0;2m`, false);
    d.screen.write(line.replace(/\p{C}/gu, "�"), false);
    d.screen.write("\x1b[0m\r\n", false);
  } else if (e.kind === "reply" && e.stream) d.screen.write(e.screen, e.stream === "message" || !d.terminals.has(e.request));
}

interface Shot {
  lines: Line[];
  cursorLine: number;
  cursor: number; // -1: hidden
  skipped: boolean;
}

/** An SSH session as its client saw it, at a time or (null) at its end. */
export function Terminal({ entries, at }: { entries: Entry[]; at: number | null }) {
  const sorted = useMemo(() => [...entries].sort((a, b) => a.at - b.at), [entries]);
  const [shot, setShot] = useState<Shot>({ lines: [], cursorLine: -1, cursor: -1, skipped: false });
  const drawn = useRef<Drawn | null>(null);
  const box = useRef<HTMLDivElement>(null);
  const upto = at === null ? sorted.length : upTo(sorted, at);

  useEffect(() => {
    let wanted = true;
    let timer = 0;
    const run = () => {
      if (!wanted) return;
      // Forward it goes on drawing; backward it begins anew.
      let d = drawn.current;
      if (!d || d.entries !== sorted || d.done > upto) d = drawn.current = begin(sorted);
      const until = performance.now() + 50; // the page stays usable
      for (; d.done < upto && performance.now() < until; d.done++) draw(d, sorted[d.done] as Entry);
      const lines = d.screen.lines();
      const cursorLine = d.screen.cursorLine();
      const end = lines.findLastIndex((l) => l.cells.length > 0);
      setShot({ lines: lines.slice(0, Math.max(end, cursorLine) + 1), cursorLine, cursor: d.screen.cursor ? d.screen.x : -1, skipped: d.screen.skipped });
      if (d.done < upto) timer = window.setTimeout(run);
    };
    queueMicrotask(run);
    return () => {
      wanted = false;
      window.clearTimeout(timer);
    };
  }, [sorted, upto]);
  useLayoutEffect(() => {
    const el = box.current;
    if (el) el.scrollTop = el.scrollHeight;
  }, [shot]);
  return (
    <>
      {shot.skipped && <p className="note cut">Some of what was drawn here is left out: it would have taken too long. The list below has its text.</p>}
      <div className="term" ref={box} tabIndex={0} role="region" aria-label="Terminal" data-testid="terminal">
        {shot.lines.map((l, i) => (
          <Row key={l.id} line={l} cursor={i === shot.cursorLine ? shot.cursor : -1} />
        ))}
      </div>
    </>
  );
}

const Row = memo(function Row({ line, cursor }: { line: Line; cursor: number }) {
  const cells: Cell[] = line.cells.slice();
  if (cursor >= 0) while (cells.length <= cursor) cells.push({ ch: " ", look: { cls: "" } });
  const runs: { text: string; cls: string }[] = [];
  cells.forEach((c, i) => {
    const cls = i === cursor ? `${c.look.cls} tm-cursor` : c.look.cls;
    const last = runs[runs.length - 1];
    if (last && last.cls === cls) last.text += c.ch;
    else runs.push({ text: c.ch, cls });
  });
  return (
    <div className="term-line">
      {runs.map((r, i) =>
        r.cls ? (
          <span key={i} className={r.cls}>
            {r.text}
          </span>
        ) : (
          r.text
        ),
      )}
      {"\n"}
    </div>
  );
});

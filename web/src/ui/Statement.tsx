import { memo, useLayoutEffect, useMemo, useRef, useState } from "react";
import { oneLine, warnings } from "../lib/marks";
import { tokenize } from "../lib/sql";
import { count, plural } from "../lib/time";
import { Copy } from "./bits";
import { Icon } from "./icons";
import { Marked, render } from "./Marked";

const colourUpTo = 64 << 10; // beyond, the text is shown without colours
const tokensUpTo = 20_000;
const showUpTo = 256 << 10; // beyond, the middle is left out until asked for
const headPart = 128 << 10;
const tailPart = 32 << 10;
const tailLine = 140;

/**
 * A statement as a reviewer needs to see it: coloured, nothing hidden, its
 * length and its end always in sight.
 */
export const Statement = memo(function Statement({ text, small = false, sql = true }: { text: string; small?: boolean; sql?: boolean }) {
  const [expanded, setExpanded] = useState(false);
  const [whole, setWhole] = useState(false);
  const [overflows, setOverflows] = useState(false);
  const box = useRef<HTMLPreElement>(null);

  const warn = useMemo(() => warnings(text), [text]);
  const lines = useMemo(() => text.split("\n").length, [text]);
  const cut = text.length > showUpTo && !whole;

  useLayoutEffect(() => {
    const el = box.current;
    if (!el) return;
    const look = () => setOverflows(el.scrollHeight > el.clientHeight + 2);
    look();
    const o = new ResizeObserver(look);
    o.observe(el);
    return () => o.disconnect();
  }, [text, expanded, whole]);

  if (text === "") return <p className="dim">No statement text.</p>;

  return (
    <div className={`statement${small ? " small" : ""}`}>
      {warn.length > 0 && (
        <div className="misleads" role="alert" data-testid="misleads">
          <Icon name="warn" />
          <div>
            <strong>This text may not be what it looks like.</strong> It has {warn.map((w) => w.text).join(", ")}. Each is marked below.
          </div>
        </div>
      )}
      <pre ref={box} className={`code${expanded ? " expanded" : ""}`} tabIndex={0} aria-label="Statement" data-testid="statement">
        <code>
          {cut ? (
            <>
              <Marked text={text.slice(0, headPart)} />
              <button type="button" className="gap" onClick={() => setWhole(true)}>
                {count(text.length - headPart - tailPart)} characters are left out here. Show them
              </button>
              <Marked text={text.slice(-tailPart)} />
            </>
          ) : sql && text.length <= colourUpTo ? (
            <Coloured text={text} />
          ) : (
            <Marked text={text} />
          )}
        </code>
      </pre>
      <div className="code-foot">
        <span>
          {plural(lines, "line")}, {plural(text.length, "character")}
          {text.length > colourUpTo && " (too long to colour)"}
        </span>
        {overflows && !expanded && (
          <span className="ends" title="The end of the statement">
            ends with <code>{tail(text)}</code>
          </span>
        )}
        <span className="spacer" />
        {(overflows || expanded) && (
          <button type="button" className="link" aria-expanded={expanded} onClick={() => setExpanded(!expanded)}>
            {expanded ? "Collapse" : "Expand"}
          </button>
        )}
        <Copy text={text} what="statement" />
      </div>
    </div>
  );
});

/** The end of a text in one line. */
export function tail(text: string): string {
  return text.length <= tailLine ? oneLine(text, tailLine) : "…" + oneLine(text.slice(-tailLine), tailLine);
}

const Coloured = memo(function Coloured({ text }: { text: string }) {
  return useMemo(() => {
    // Gaps of white space are a token of their own, so tokens never split one.
    const tokens = tokenize(text);
    if (tokens.length > tokensUpTo) return render(text);
    return tokens.map((t, i) =>
      t.kind === "space" || t.kind === "punct" ? (
        <span key={i}>{render(t.text)}</span>
      ) : (
        <span key={i} className={`t-${t.kind}${t.open ? " t-open" : ""}`} title={t.open ? "never ends" : undefined}>
          {render(t.text)}
        </span>
      ),
    );
  }, [text]);
});

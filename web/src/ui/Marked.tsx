import { memo, type ReactNode } from "react";
import { segments, spell } from "../lib/marks";

const nodesUpTo = 4000; // beyond, marks are spelled out inside one text

/** Text somebody else wrote, with everything in it that could mislead made visible. */
export const Marked = memo(function Marked({ text, max }: { text: string; max?: number }) {
  const cut = max !== undefined && text.length > max;
  return (
    <>
      {render(cut ? text.slice(0, max) : text)}
      {cut && <span className="more">… {(text.length - max).toLocaleString("en")} more characters</span>}
    </>
  );
});

/** The segments of a text as nodes: plain text nodes, and marks. */
export function render(text: string): ReactNode[] {
  const segs = segments(text);
  if (segs.length > nodesUpTo) return [spell(segs)];
  return segs.map((s, i) => {
    if (!s.mark) return s.text;
    const m = s.mark;
    return (
      <span key={i}>
        <span className={`mark mark-${m.kind}`} title={m.title}>
          {m.shown}
        </span>
        {m.breaks && "\n"}
      </span>
    );
  });
}

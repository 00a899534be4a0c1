import { memo, useState } from "react";
import type { Entry } from "../api/types";
import { count, plural } from "../lib/time";
import { Marked } from "./Marked";

const rowsShown = 20;
const columnsShown = 60;

/** A result as it was released to the client: masked values are what the client got. */
export const Result = memo(function Result({ e, masked }: { e: Entry; masked: string[] }) {
  const [all, setAll] = useState(false);
  const rows = all ? e.rows : e.rows.slice(0, rowsShown);
  const cols = e.columns.slice(0, columnsShown);
  // Rules name columns as schema.table.column; a result only says the last part.
  const names = new Set(masked.map((m) => m.slice(m.lastIndexOf(".") + 1)));
  return (
    <div className="result">
      <div className="scroll-x" tabIndex={0} role="region" aria-label="Result">
        <table className="table data" data-testid="result">
          <thead>
            <tr>
              {cols.map((c, i) => (
                <th key={i} scope="col" className={names.has(c) ? "is-masked" : undefined} title={names.has(c) ? "The values of this column were masked before they were released" : undefined}>
                  <Marked text={c} max={80} />
                </th>
              ))}
              {e.columns.length > cols.length && <th scope="col">and {count(e.columns.length - cols.length)} more</th>}
            </tr>
          </thead>
          <tbody>
            {rows.map((r, i) => (
              <tr key={i}>
                {r.slice(0, columnsShown).map((c, j) => (
                  <td key={j} className={names.has(cols[j] ?? "") ? "is-masked" : undefined}>
                    {c === null ? <span className="null">null</span> : c === "" ? <span className="null">empty</span> : <Marked text={c} max={300} />}
                  </td>
                ))}
              </tr>
            ))}
            {e.rows.length === 0 && (
              <tr>
                <td className="dim" colSpan={Math.max(1, cols.length)}>
                  no rows
                </td>
              </tr>
            )}
          </tbody>
        </table>
      </div>
      <p className="result-foot dim">
        {rows.length < e.rows.length && (
          <button type="button" className="link" onClick={() => setAll(true)}>
            Show all {plural(e.rows.length, "recorded row")}
          </button>
        )}
        {e.truncated && <span>The recording keeps the beginning of this result{e.rowCount > e.rows.length ? ` (${plural(e.rowCount, "row")} in all)` : ""}.</span>}
      </p>
    </div>
  );
});

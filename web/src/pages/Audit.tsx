import { useQuery } from "@tanstack/react-query";
import { api } from "../api/client";
import { useTitle } from "../lib/hooks";
import { count, when } from "../lib/time";
import { Ago, Copy, ErrorBox, Fact, Loading } from "../ui/bits";
import { Icon } from "../ui/icons";
import { Marked } from "../ui/Marked";

/** The state of the log: how much is in it, and whether it is whole. */
export function AuditPage() {
  useTitle("Audit");
  const q = useQuery({ queryKey: ["audit"], queryFn: ({ signal }) => api.audit(signal), refetchInterval: 15_000 });
  const a = q.data;
  return (
    <div className="page">
      <header className="page-head">
        <h1>Audit</h1>
        <p className="dim">Every decision and its outcome is an entry of one append-only log. Its root covers them all: change, drop or reorder one, and the root is another.</p>
      </header>
      {q.isPending && <Loading what="the state of the log" />}
      {q.isError && <ErrorBox error={q.error} retry={() => void q.refetch()} title={a ? "This is out of date" : "The state of the log is not known"} />}
      {a && (
        <>
          {a.ok ? (
            <div className="box box-good" data-testid="audit" data-ok="true">
              <Icon name="seal" />
              <div>
                <strong>The log is whole.</strong> {a.checkedAt && <span>Checked <Ago iso={a.checkedAt} />.</span>}
              </div>
            </div>
          ) : (
            <div className="box box-bad" role="alert" data-testid="audit" data-ok="false">
              <Icon name="warn" />
              <div>
                <strong>{a.problems.length > 0 || a.checkedAt ? "The log does not check out." : "The log has not been checked yet."}</strong> {a.checkedAt && <span>Checked <Ago iso={a.checkedAt} />.</span>}
                <ul>
                  {a.problems.slice(0, 100).map((p, i) => (
                    <li key={i}>
                      <Marked text={p} max={600} />
                    </li>
                  ))}
                </ul>
                {a.problems.length > 0 && (
                  <p className="dim">
                    Keep the files as they are, and run <code>doorward audit verify</code> on a copy.
                  </p>
                )}
              </div>
            </div>
          )}
          <dl className="facts tall">
            <Fact name="Entries">
              <span className="figure" data-testid="audit-size">
                {count(a.size)}
              </span>
            </Fact>
            <Fact name="Root">
              <code className="hash" data-testid="audit-root">
                <Marked text={a.root || "–"} max={200} />
              </code>{" "}
              {a.root && <Copy text={a.root} what="root" />}
            </Fact>
            <Fact name="Checked">{a.checkedAt ? when(a.checkedAt) : "not yet"}</Fact>
          </dl>
          <section className="block" aria-label="Checkpoint">
            <h2>Signed checkpoint</h2>
            <p className="dim">
              Keep a copy somewhere else. With it, <code>doorward audit verify --checkpoint FILE</code> proves later that nothing before it was changed or cut off.
            </p>
            {a.checkpoint ? (
              <div className="checkpoint">
                <pre className="code small-code" tabIndex={0}>
                  {a.checkpoint}
                </pre>
                <div className="code-foot">
                  <span className="spacer" />
                  <Copy text={a.checkpoint} what="checkpoint" />
                </div>
              </div>
            ) : (
              <p className="dim">There is none yet: the log is empty.</p>
            )}
          </section>
        </>
      )}
    </div>
  );
}

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useId, useState, type ReactNode } from "react";
import { api, ApiError } from "../api/client";
import { putReview, usePollInterval } from "../api/live";
import type { Quorum, Review, Vote } from "../api/types";
import { useKeys, useNow } from "../lib/hooks";
import { Link, navigate } from "../lib/router";
import { count, plural, when } from "../lib/time";
import { Ago, Dialog, ErrorBox, Fact, Loading, Pill, ReviewState, Who, type Tone } from "../ui/bits";
import { Icon } from "../ui/icons";
import { Marked } from "../ui/Marked";
import { Statement, tail } from "../ui/Statement";
import { Left } from "../ui/Left";
import { useMe } from "../api/queries";

/** One request: who, why, exactly what, what it would touch, and the answer. */
export function ReviewDetail({ id }: { id: number }) {
  const every = usePollInterval();
  const q = useQuery({ queryKey: ["review", id], queryFn: ({ signal }) => api.review(id, signal), refetchInterval: every });
  const r = q.data;
  if (q.isPending) return <Loading what="the request" />;
  if (!r)
    return (
      <div className="detail">
        <ErrorBox error={q.error} title={q.error instanceof ApiError && q.error.status === 404 ? "There is no such request" : "The request cannot be shown"} retry={() => void q.refetch()} />
      </div>
    );
  return <Detail r={r} stale={q.isError ? q.error : undefined} />;
}

type Answer = "approve" | "deny";

function Detail({ r, stale }: { r: Review; stale?: Error }) {
  const now = useNow();
  const expired = r.state === "waiting" && Date.parse(r.expires) <= now;
  const open = r.state === "waiting" && !expired;
  const [asking, setAsking] = useState<Answer | null>(null);
  const can = open && r.canVote;
  // Sessions are for those whose they are, and for administrators.
  const sees = useMe()?.admin || r.mine;
  useKeys({ a: can ? () => setAsking("approve") : undefined, d: can ? () => setAsking("deny") : undefined });

  return (
    <article className="detail" data-testid="review-detail" data-state={r.state}>
      <header className="detail-head">
        <Link to="/reviews" className="back">
          ← All requests
        </Link>
        <div className="detail-title">
          <h1>
            <Who id={r.identity} /> <span className="dim">on</span> <Marked text={r.target} max={120} />
          </h1>
          <span className="spacer" />
          {expired ? <ReviewState state="expired" /> : <ReviewState state={r.state} />}
        </div>
        <p className="dim">
          Request {r.id}, asked <Ago iso={r.created} />
          {open && (
            <>
              {" · "}
              <Left expires={r.expires} />
            </>
          )}
        </p>
      </header>

      {stale && <ErrorBox error={stale} title="This may be out of date" />}

      <section className="block why" aria-label="Why">
        <h2>Why</h2>
        {r.why ? (
          <blockquote>
            <Marked text={r.why} max={2000} />
          </blockquote>
        ) : (
          <p className="dim">The agent's run was started without a task, so no reason is given.</p>
        )}
        <p>
          <Icon name="inbox" /> Held by{" "}
          <strong>
            <Marked text={r.rule || "the default"} max={120} />
          </strong>
          {r.reason && (
            <>
              : <Marked text={r.reason} max={1000} />
            </>
          )}
        </p>
      </section>

      <section className="block" aria-label="What would run">
        <h2>What would run</h2>
        <Statement text={r.statement} sql={r.protocol === "" || r.protocol === "postgres" || r.protocol === "mysql"} />
        {r.params.length > 0 && (
          <div className="params">
            <h3>Bound parameters</h3>
            <ol data-testid="params">
              {r.params.map((p, i) => (
                <li key={i}>
                  <span className="t-param">${i + 1}</span>
                  <code>
                    <Marked text={p} max={4000} />
                  </code>
                </li>
              ))}
            </ol>
          </div>
        )}
        {r.preview !== "" && (
          <div className="params" data-testid="preview">
            <h3>What would change</h3>
            <Statement text={r.preview} sql={false} />
          </div>
        )}
      </section>

      <Touches r={r} />

      {(r.votes.length > 0 || r.reviewers.length > 0) && (
        <section className="block" aria-label="Answers">
          <h2>Answers</h2>
          {r.reviewers.map((q, i) => (
            <Needs key={i} q={q} />
          ))}
          {r.votes.length > 0 && (
            <ul className="votes" data-testid="votes">
              {r.votes.map((v, i) => (
                <VoteRow key={i} v={v} />
              ))}
            </ul>
          )}
        </section>
      )}

      <details className="block more-facts">
        <summary>Details</summary>
        <dl className="facts">
          <Fact name="Person">
            <Marked text={r.identity.subject} max={300} />
          </Fact>
          {r.identity.groups.length > 0 && (
            <Fact name="Groups">
              <Marked text={r.identity.groups.join(", ")} max={500} />
            </Fact>
          )}
          {r.identity.run && (
            <Fact name="Run">
              <Marked text={r.identity.run} max={120} />
            </Fact>
          )}
          {r.session && (
            <Fact name="Session">{sees ? <Link to={`/sessions/${encodeURIComponent(r.session)}`}>{r.session}</Link> : <code>{r.session}</code>}</Fact>
          )}
          <Fact name="Expires">{when(r.expires)}</Fact>
          <Fact name="Policy version">
            <code>{r.policy || "–"}</code>
          </Fact>
          <Fact name="Digest">
            <code title="Of target, identity, exact statement, parameters and session state">{r.digest || "–"}</code>
          </Fact>
        </dl>
      </details>

      {open ? <Act r={r} onAsk={setAsking} /> : <After r={r} expired={expired} sees={sees} />}
      {/* A dialog does not outlive what it asks about. */}
      {asking && open && <AnswerDialog r={r} answer={asking} onClose={() => setAsking(null)} />}
    </article>
  );
}

const traits: Record<string, [Tone, string, string]> = {
  unbounded: ["bad", "unbounded", "Nothing bounds how many rows this changes"],
  irreversible: ["bad", "irreversible", "It cannot be rolled back or restored by the target itself"],
  leaves: ["bad", "data leaves", "Data goes to, or comes from, files, programs or other servers"],
  mass_read: ["wait", "mass read", "Nothing bounds the read, and it is likely to be large"],
  multi_statement: ["wait", "several statements", "More than one statement in one request"],
  locks: ["wait", "takes locks", "It takes explicit locks, which may hold up others"],
  deletes_namespace: ["bad", "deletes a namespace", "It deletes a namespace, and everything in it"],
  delete_collection: ["bad", "deletes a collection", "It deletes every object that its selector matches"],
  scale_to_zero: ["bad", "scale to zero", "It may leave a workload without replicas"],
  rbac: ["bad", "permissions", "It changes roles, or who has them"],
  webhook: ["bad", "sees requests", "It changes what looks at, or changes, requests to the API server"],
  ephemeral_container: ["bad", "debug container", "It puts a container into a pod that runs"],
  node_proxy: ["bad", "node's agent", "It reaches a node's agent, which can run anything on the node"],
  token: ["bad", "credential", "It makes, or checks, a credential"],
  secret: ["wait", "secrets", "It reads or writes Secrets"],
  masked: ["info", "masked columns", "It reads columns that come back masked"],
};

const verbTone = (v: string): Tone => (v === "read" || v === "session" ? "neutral" : v === "delete" || v === "admin" || v === "grant" || v === "unknown" || v === "execute" ? "bad" : "wait");

function Verb({ v }: { v: string }) {
  return (
    <Pill tone={verbTone(v)}>
      <Marked text={v} max={30} />
    </Pill>
  );
}

const objectsShown = 40;

function Touches({ r }: { r: Review }) {
  const e = r.effect;
  const [all, setAll] = useState(false);
  const objects = all ? e.objects : e.objects.slice(0, objectsShown);
  return (
    <section className="block" aria-label="What it would touch">
      <h2>What it would touch</h2>
      <p className="pills" data-testid="traits">
        {e.verbs.map((v) => (
          <Verb key={v} v={v} />
        ))}
        {e.traits.map((t) => {
          const [tone, text, title] = traits[t] ?? ["wait", t, "A property this console does not know"];
          return (
            <Pill key={t} tone={tone} icon={tone === "bad" ? "warn" : t === "masked" ? "mask" : undefined} title={title}>
              <Marked text={text} max={40} />
            </Pill>
          );
        })}
        {e.bound >= 0 && <Pill title="Proved from the statement and the target's keys">at most {plural(e.bound, "row")}</Pill>}
      </p>
      {!e.complete && (
        <div className="box box-bad">
          <Icon name="warn" />
          <div>
            <strong>doorward does not know all that this does.</strong> The list below may not be complete.
          </div>
        </div>
      )}
      {e.objects.length > 0 ? (
        <table className="table objects" data-testid="objects">
          <thead>
            <tr>
              <th scope="col">Object</th>
              <th scope="col">Kind</th>
              <th scope="col">Would</th>
            </tr>
          </thead>
          <tbody>
            {objects.map((o, i) => (
              <tr key={i}>
                <td>
                  <code>
                    <Marked text={o.name} max={300} />
                  </code>
                </td>
                <td className="dim">
                  <Marked text={o.kind} max={40} />
                </td>
                <td>
                  {o.verbs.map((v) => (
                    <Verb key={v} v={v} />
                  ))}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      ) : (
        <p className="dim">No object is named by it.</p>
      )}
      {e.objects.length > objects.length && (
        <button type="button" className="link" onClick={() => setAll(true)}>
          Show all {count(e.objects.length)} objects
        </button>
      )}
      {e.masked.length > 0 && (
        <p className="masked-cols">
          <Icon name="mask" /> Comes back masked:{" "}
          {e.masked.slice(0, 40).map((m) => (
            <code key={m} className="chip">
              <Marked text={m} max={120} />
            </code>
          ))}
        </p>
      )}
    </section>
  );
}

function Needs({ q }: { q: Quorum }) {
  const who: ReactNode[] = [...q.groups.map((g) => ["group", g] as const), ...q.users.map((u) => ["", u] as const)].slice(0, 20).map(([kind, name], i) => (
    <span key={i}>
      {i > 0 && " or "}
      <strong>
        <Marked text={name} max={80} />
      </strong>
      {kind && <span className="dim"> (group)</span>}
    </span>
  ));
  return (
    <p>
      Needs {q.count === 1 ? "one yes" : `${q.count} yeses`}
      {who.length > 0 && <> from {who}</>}.{q.selfApproval && <span className="dim"> The one who asked may answer; the record says so.</span>}
    </p>
  );
}

function VoteRow({ v }: { v: Vote }) {
  return (
    <li>
      <Pill tone={v.approve ? "good" : "bad"} icon={v.approve ? "check" : "cross"}>
        {v.approve ? "approved" : "denied"}
      </Pill>
      <span>
        <strong>
          <Marked text={v.by} max={120} />
        </strong>
        {v.self && <span className="dim"> (their own request)</span>} <span className="dim">{<Ago iso={v.at} />}</span>
        {v.maxRows > 0 && <span className="dim"> · if at most {plural(v.maxRows, "row")} change</span>}
        {v.comment && (
          <span className="comment">
            “<Marked text={v.comment} max={2000} />”
          </span>
        )}
      </span>
    </li>
  );
}

function Act({ r, onAsk }: { r: Review; onAsk: (a: Answer) => void }) {
  return (
    <footer className="act">
      <p className="dim">
        {r.canVote ? (
          r.mine ? (
            "You, or your agent, asked for this. The rule lets you answer; the record will say that you did."
          ) : (
            "A yes is for exactly this statement and these parameters, for this person and agent, and for one run."
          )
        ) : (
          <Marked text={r.whyNot || "You cannot answer this request."} max={400} />
        )}
      </p>
      <span className="spacer" />
      <button type="button" className="button" disabled={!r.canVote} onClick={() => onAsk("deny")} data-testid="deny">
        Deny <kbd>d</kbd>
      </button>
      <button type="button" className="button primary" disabled={!r.canVote} onClick={() => onAsk("approve")} data-testid="approve">
        Approve <kbd>a</kbd>
      </button>
    </footer>
  );
}

function After({ r, expired, sees }: { r: Review; expired: boolean; sees: boolean }) {
  const text: Record<string, string> = {
    approved: "Approved. It runs, once, when the agent's request continues or the identical request comes again.",
    denied: "Denied. The agent was told so, with the comments above.",
    expired: "Nobody answered in time. The agent has to ask again.",
    spent: "Approved, and it was run. The approval cannot be used again.",
  };
  const state = expired ? "expired" : r.state;
  return (
    <footer className={`act after after-${state}`} role="status" data-testid="after">
      <Icon name={state === "approved" || state === "spent" ? "check" : state === "denied" ? "cross" : "clock"} />
      <p>
        {text[state] ?? <Marked text={`The state is ${state}.`} max={80} />} {r.decided && <span className="dim">{when(r.decided)}</span>}
      </p>
      <span className="spacer" />
      {r.session && sees && (
        <button type="button" className="button" onClick={() => navigate(`/sessions/${encodeURIComponent(r.session)}`)}>
          Open the session
        </button>
      )}
    </footer>
  );
}

const changesRows = (r: Review) => r.effect.verbs.some((v) => v === "create" || v === "update" || v === "delete");

function AnswerDialog({ r, answer, onClose }: { r: Review; answer: Answer; onClose: () => void }) {
  const qc = useQueryClient();
  const id = useId();
  const yes = answer === "approve";
  const bounded = yes && changesRows(r);
  const [comment, setComment] = useState("");
  const [rows, setRows] = useState(r.maxRows > 0 ? String(r.maxRows) : r.effect.bound > 0 ? String(r.effect.bound) : "");
  const n = rows.trim() === "" ? 0 : Number(rows);
  const tooMany = r.maxRows > 0 && n > r.maxRows;
  const wrong = bounded && (!Number.isSafeInteger(n) || n < 0 || (rows.trim() !== "" && n === 0) || tooMany);
  const vote = useMutation({
    mutationFn: () => api.vote(r.id, { approve: yes, comment: comment.trim(), maxRows: bounded ? n : 0 }),
    onSuccess: (next) => {
      // Some servers answer with the review, some with nothing.
      if (next.id === r.id) putReview(qc, { ...next, mine: r.mine });
      void qc.invalidateQueries({ queryKey: ["review", r.id] });
      void qc.invalidateQueries({ queryKey: ["reviews"] });
      onClose();
    },
    onError: (e) => {
      if (e instanceof ApiError && e.status >= 400 && e.status < 500) void qc.invalidateQueries({ queryKey: ["review", r.id] });
    },
  });
  const send = () => {
    if (!vote.isPending && !wrong) vote.mutate();
  };
  return (
    <Dialog open onClose={onClose} title={yes ? `Approve request ${r.id}?` : `Deny request ${r.id}?`}>
      <form
        onSubmit={(e) => {
          e.preventDefault();
          send();
        }}
        onKeyDown={(e) => {
          if (e.key === "Enter" && (e.metaKey || e.ctrlKey)) {
            e.preventDefault();
            send();
          }
        }}
      >
        <div className="dialog-body">
          <p>
            <Who id={r.identity} /> {yes ? "may run" : "will not run"} this on <strong>{<Marked text={r.target} max={120} />}</strong>
            {yes ? ", once:" : ":"}
          </p>
          <pre className="code tail">
            <code>
              <Marked text={r.statement.length > 400 ? tail(r.statement) : r.statement} />
            </code>
          </pre>
          {r.statement.length > 400 && <p className="dim small-text">This is the end of {count(r.statement.length)} characters.</p>}
          <label htmlFor={id + "c"}>
            Comment <span className="dim">{yes ? "(kept in the record)" : "(the agent sees it: say what would be fine instead)"}</span>
          </label>
          <textarea id={id + "c"} rows={3} maxLength={2000} autoFocus value={comment} onChange={(e) => setComment(e.target.value)} data-testid="comment" />
          {bounded && (
            <>
              <label htmlFor={id + "r"}>As long as it changes at most</label>
              <span className="inline">
                <input
                  id={id + "r"}
                  type="text"
                  inputMode="numeric"
                  className="rows"
                  maxLength={12}
                  value={rows}
                  onChange={(e) => setRows(e.target.value)}
                  placeholder="any number of"
                  aria-describedby={id + "h"}
                  aria-invalid={wrong}
                  data-testid="max-rows"
                />
                <span>rows</span>
              </span>
              <p id={id + "h"} className={wrong ? "wrong small-text" : "dim small-text"}>
                {wrong
                  ? tooMany
                    ? `The rule allows at most ${count(r.maxRows)}.`
                    : "Give a whole number above zero, or leave it empty."
                  : n > 0
                    ? "Above that, everything is rolled back and the agent is told."
                    : "Without a number, nothing but the rule's own limits bounds it."}
              </p>
            </>
          )}
        </div>
        {vote.isError && <ErrorBox error={vote.error} title="The answer was not taken" />}
        <div className="dialog-actions">
          <span className="dim small-text">Ctrl + Enter sends</span>
          <span className="spacer" />
          <button type="button" className="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" className={`button ${yes ? "primary" : "bad"}`} disabled={vote.isPending || wrong} data-testid="confirm">
            {vote.isPending ? "Sending…" : yes ? "Approve" : "Deny"}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

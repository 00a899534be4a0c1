import { useQuery } from "@tanstack/react-query";
import { memo, useEffect, useMemo, useRef, useState, type ReactNode } from "react";
import { api, ApiError, tapeURL } from "../api/client";
import type { Entry, Session, Timeline, Verified } from "../api/types";
import { useKeys, useNow, useTitle } from "../lib/hooks";
import { advance, length, stepBack, stepForward, steps, times, type Step } from "../lib/replay";
import { Link } from "../lib/router";
import { clock, count, plural, span, took, when } from "../lib/time";
import { Ago, Copy, Decision, Empty, ErrorBox, Fact, Loading, Who } from "../ui/bits";
import { Icon } from "../ui/icons";
import { Marked } from "../ui/Marked";
import { Result } from "../ui/Result";
import { Statement } from "../ui/Statement";
import { Terminal } from "../ui/Terminal";
import { plain } from "../lib/terminal";
import { EndSession, SessionState } from "../ui/session";

/** One session: what happened, when, and whether the record of it is whole. */
export function SessionPage({ id }: { id: string }) {
  useTitle("Session");
  const session = useQuery({ queryKey: ["session", id], queryFn: ({ signal }) => api.session(id, signal), refetchInterval: (q) => (q.state.data?.live ? 5_000 : false) });
  const live = session.data?.live ?? false;
  // Looking at a recording is itself recorded, so it is asked for when the
  // page opens, when the session ends, and when somebody says so.
  const tl = useQuery({ queryKey: ["timeline", id, live], queryFn: ({ signal }) => api.timeline(id, signal), enabled: !session.isPending, staleTime: Infinity, refetchOnWindowFocus: false, refetchOnReconnect: false });
  const s = session.data;

  return (
    <div className="page session-page">
      <header className="page-head">
        <Link to="/sessions" className="back">
          ← Sessions
        </Link>
        {session.isPending && <Loading what="the session" />}
        {session.isError && !s && (
          <ErrorBox error={session.error} title={session.error instanceof ApiError && session.error.status === 404 ? "There is no such session" : "The session cannot be shown"} retry={() => void session.refetch()} />
        )}
        {s && <Head s={s} />}
      </header>
      {tl.isPending && session.isSuccess && <Loading what="the recording" />}
      {tl.isError && !(session.isError && !s) && <ErrorBox error={tl.error} title="The recording cannot be shown" retry={() => void tl.refetch()} />}
      {tl.data && (
        <>
          <Verification v={tl.data.verified} live={live} seal={tl.data.seal} />
          {live && (
            <p className="follow">
              <span className="dim">This session is live. What is shown is the record up to when you asked.</span>{" "}
              <button type="button" className="button small" onClick={() => void tl.refetch()} disabled={tl.isFetching}>
                {tl.isFetching ? "Reading…" : "Read on"}
              </button>
            </p>
          )}
          <Recording id={id} t={tl.data} />
        </>
      )}
    </div>
  );
}

function Head({ s }: { s: Session }) {
  const now = useNow();
  const end = s.ended ? Date.parse(s.ended) : now;
  return (
    <>
      <div className="detail-title">
        <h1>
          <Who id={s.identity} full /> <span className="dim">on</span> <Marked text={s.target} max={120} />
        </h1>
        <SessionState s={s} />
        <span className="spacer" />
        {s.live && <EndSession s={s} />}
      </div>
      <dl className="facts inline-facts">
        <Fact name="Started">
          {when(s.started)} <span className="dim">({<Ago iso={s.started} />})</span>
        </Fact>
        <Fact name="Length">{span(end - Date.parse(s.started))}</Fact>
        <Fact name="Requests">
          {count(s.requests)}
          {s.stopped > 0 && <span className="tiny wait">{count(s.stopped)} denied or held</span>}
        </Fact>
        <Fact name="Protocol">
          <Marked text={s.protocol || "–"} max={40} />
        </Fact>
        <Fact name="From">
          <code>
            <Marked text={s.remote || "–"} max={80} />
          </code>
        </Fact>
        {s.identity.run && (
          <Fact name="Run">
            <code>
              <Marked text={s.identity.run} max={80} />
            </code>
          </Fact>
        )}
        <Fact name="Session">
          <code>
            <Marked text={s.id} max={80} />
          </code>
        </Fact>
      </dl>
    </>
  );
}

function Verification({ v, live, seal }: { v: Verified; live: boolean; seal: string }) {
  if (v.ok)
    return (
      <div className="box box-good" data-testid="verified" data-ok="true">
        <Icon name="seal" />
        <div>
          <strong>{live ? "Verified so far." : "Verified."}</strong> <span>{live ? "What is there is unchanged: every part is chained to the one before. The end is sealed when the session ends." : "The recording is whole and unchanged: every part is chained to the one before, up to its seal."}</span>
          {seal && (
            <span className="seal dim">
              Seal <code>{seal.slice(0, 16)}…</code> <Copy text={seal} what="seal" />
            </span>
          )}
        </div>
      </div>
    );
  return (
    <div className={`box ${live && v.problems.length === 0 ? "" : "box-bad"}`} role="alert" data-testid="verified" data-ok="false">
      <Icon name={live && v.problems.length === 0 ? "clock" : "warn"} />
      <div>
        <strong>{live && v.problems.length === 0 ? "Not sealed yet." : "Not verified."}</strong>{" "}
        {live && v.problems.length === 0 ? "A recording is sealed when its session ends." : "Do not rely on what is shown below."}
        {v.problems.length > 0 && (
          <ul>
            {v.problems.slice(0, 50).map((p, i) => (
              <li key={i}>
                <Marked text={p} max={500} />
              </li>
            ))}
          </ul>
        )}
      </div>
    </div>
  );
}

const stepsShown = 250;
const partsShown = 100; // of one step
const speeds = [0.5, 1, 2, 4, 8, 16];

function Recording({ id, t }: { id: string; t: Timeline }) {
  const all = useMemo(() => steps(t.entries), [t.entries]);
  const ts = useMemo(() => times(t.entries), [t.entries]);
  const total = useMemo(() => length(t.entries), [t.entries]);
  // null: everything is shown. A number: the replay stands there.
  const [at, setAt] = useState<number | null>(null);
  const [playing, setPlaying] = useState(false);
  const [speed, setSpeed] = useState(1);
  const [find, setFind] = useState("");
  const [most, setMost] = useState(stepsShown);
  const clockAt = useRef(0);
  useEffect(() => {
    clockAt.current = at ?? 0;
  }, [at]);

  useEffect(() => {
    if (!playing) return;
    let frame = 0;
    let last = performance.now();
    const tick = (now: number) => {
      const next = advance(ts, clockAt.current, now - last, speed);
      last = now;
      clockAt.current = next;
      setAt(next);
      if (next >= total) setPlaying(false);
      else frame = requestAnimationFrame(tick);
    };
    frame = requestAnimationFrame(tick);
    return () => cancelAnimationFrame(frame);
  }, [playing, speed, ts, total]);

  const toggle = () => {
    if (!playing && (at === null || at >= total)) {
      clockAt.current = 0;
      setAt(0);
    }
    setPlaying(!playing);
  };
  const step = (to: number) => {
    setPlaying(false);
    setAt(to);
  };
  const fwd = () => step(stepForward(ts, at ?? -1));
  const back = () => step(stepBack(ts, at ?? total + 1));
  const showAll = () => {
    setPlaying(false);
    setAt(null);
  };
  useKeys({ " ": toggle, ArrowRight: fwd, ArrowLeft: back, Escape: at === null ? undefined : showAll });

  if (t.entries.length === 0)
    return (
      <Empty icon="film" title="Nothing was asked in this session">
        The client connected and sent no request.
      </Empty>
    );

  const term = find.trim().toLowerCase();
  const shown = (at === null ? all : all.filter((s) => s.at <= at)).filter((s) => !term || matches(s, term));
  const current = at === null ? undefined : shown[shown.length - 1];
  // A long session is drawn in parts: the beginning, or what leads up to now.
  const drawn = at === null ? shown.slice(0, most) : shown.slice(-stepsShown);

  return (
    <section aria-label="Recording">
      <div className="player" role="group" aria-label="Replay" data-testid="player">
        <button type="button" className="tool" onClick={back} disabled={at !== null && at <= 0} aria-label="Step back" title="Step back (←)">
          <Icon name="prev" />
        </button>
        <button type="button" className="tool big" onClick={toggle} aria-label={playing ? "Pause" : "Play"} title={`${playing ? "Pause" : "Play"} (space)`} data-testid="play">
          <Icon name={playing ? "pause" : "play"} />
        </button>
        <button type="button" className="tool" onClick={fwd} disabled={at !== null && at >= total} aria-label="Step forward" title="Step forward (→)" data-testid="step">
          <Icon name="next" />
        </button>
        <input
          type="range"
          className="seek"
          min={0}
          max={Math.max(1, total)}
          step="any"
          value={Math.max(0, at ?? total)}
          onChange={(e) => {
            setPlaying(false);
            setAt(Number(e.target.value));
          }}
          aria-label="Position"
          aria-valuetext={`${clock(Math.max(0, at ?? total))} of ${clock(total)}`}
        />
        <span className="clock mono" data-testid="clock">
          {clock(Math.max(0, at ?? total))} <span className="dim">/ {clock(total)}</span>
        </span>
        <label className="speed">
          <span className="sr">Speed</span>
          <select value={speed} onChange={(e) => setSpeed(Number(e.target.value))}>
            {speeds.map((x) => (
              <option key={x} value={x}>
                {x}×
              </option>
            ))}
          </select>
        </label>
        <button type="button" className="button small" onClick={showAll} disabled={at === null} data-testid="show-all">
          Show all
        </button>
        <span className="spacer" />
        <label className="search small">
          <span className="sr">Find in this session</span>
          <Icon name="search" />
          <input type="search" placeholder="Find in session" maxLength={200} value={find} onChange={(e) => setFind(e.target.value)} />
        </label>
        <span className="tapes">
          <a className="link" href={tapeURL(id, "asciicast")} download>
            asciicast
          </a>
          <a className="link" href={tapeURL(id, "json")} download>
            JSON
          </a>
        </span>
      </div>
      {t.truncated && (
        <div className="box">
          <div>
            The recording is longer than what is shown here. <a href={tapeURL(id, "json")}>Take it as JSON</a> to see them all.
          </div>
        </div>
      )}
      {(t.header.protocol === "ssh" || t.entries.some((e) => e.kind === "resize")) && <Terminal entries={t.entries} at={at} />}
      <ol className="timeline" data-testid="timeline">
        {drawn.map((s) => (
          <StepCard key={s.key} s={s} at={at} current={s === current} />
        ))}
      </ol>
      {at === null && drawn.length < shown.length && (
        <p className="center">
          <button type="button" className="button" onClick={() => setMost(most + stepsShown)}>
            Show more ({count(shown.length - drawn.length)} left)
          </button>
        </p>
      )}
      {shown.length === 0 && <p className="dim center pad">{term ? "Nothing in the session matches." : "Nothing has happened yet."}</p>}
    </section>
  );
}

function matches(s: Step, term: string): boolean {
  const has = (x: string) => x.toLowerCase().includes(term);
  const e = s.head;
  if (e && (has(e.statement) || has(e.rule) || has(e.reason) || has(e.decision) || e.params.some(has))) return true;
  return s.parts.some((p) => has(p.text) || has(p.error) || p.rows.some((r) => r.some((c) => c !== null && has(c))));
}

function StepCard({ s, at, current }: { s: Step; at: number | null; current: boolean }) {
  const ref = useRef<HTMLLIElement>(null);
  useEffect(() => {
    if (current) ref.current?.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  }, [current]);
  const parts = at === null ? s.parts : s.parts.filter((p) => p.at <= at);
  const h = s.head;
  const outcome = parts.find((p) => p.kind === "outcome");
  const masked = [...new Set([...(h?.masked ?? []), ...parts.flatMap((p) => p.masked)])];
  // A shell has thousands of parts: the first are drawn, or what leads up to now.
  const [all, setAll] = useState(false);
  const inside = parts.filter((p) => p.kind !== "outcome");
  const seen = all && at === null ? inside : at === null ? inside.slice(0, partsShown) : inside.slice(-partsShown);
  return (
    <li ref={ref} className={`step${current ? " current" : ""}${h ? ` step-${cls(h.decision)}` : " step-aside"}`} data-testid="step-card">
      <div className="step-time mono" title={`${clock(s.at)} after the session began`}>
        {clock(s.at)}
        {s.request > 0 && <span className="dim">#{count(s.request)}</span>}
      </div>
      <div className="step-body">
        {h && (
          <>
            <div className="step-head">
              <Decision decision={h.decision} />
              {h.rule && (
                <span>
                  <span className="dim">rule</span>{" "}
                  <strong>
                    <Marked text={h.rule} max={120} />
                  </strong>
                </span>
              )}
              {h.reason && (
                <span className="dim">
                  <Marked text={h.reason} max={600} />
                </span>
              )}
              {h.review > 0 && <Link to={`/reviews/${h.review}`}>request {h.review}</Link>}
            </div>
            <Statement text={h.statement} small />
            {h.params.length > 0 && (
              <p className="params-line">
                {h.params.slice(0, 50).map((p, i) => (
                  <span key={i} className="chip">
                    <span className="t-param">${i + 1}</span>{" "}
                    <code>
                      <Marked text={p} max={300} />
                    </code>
                  </span>
                ))}
                {h.params.length > 50 && <span className="dim">and {count(h.params.length - 50)} more</span>}
              </p>
            )}
          </>
        )}
        {masked.length > 0 && (
          <p className="masked-cols" data-testid="masked">
            <Icon name="mask" /> <span className="dim">masked</span>{" "}
            {masked.slice(0, 40).map((m) => (
              <code key={m} className="chip">
                <Marked text={m} max={120} />
              </code>
            ))}
          </p>
        )}
        {at !== null && seen.length < inside.length && <p className="note dim">{plural(inside.length - seen.length, "earlier part")}</p>}
        {seen.map((p, i) => (
          <Part key={at === null ? i : inside.length - seen.length + i} e={p} masked={masked} />
        ))}
        {at === null && seen.length < inside.length && (
          <button type="button" className="link" onClick={() => setAll(true)}>
            Show {plural(inside.length - seen.length, "more part")}
          </button>
        )}
        {outcome ? (
          <Outcome e={outcome} />
        ) : (
          h?.decision === "allow" && at !== null && parts.length < s.parts.length && <p className="dim running">running…</p>
        )}
      </div>
    </li>
  );
}

const cls = (decision: string) => (decision === "allow" || decision === "deny" || decision === "review" ? decision : "other");

function Part({ e, masked }: { e: Entry; masked: string[] }): ReactNode {
  switch (e.kind) {
    case "reply":
      if (e.stream) return <Burst e={e} />;
      return (
        <>
          {e.columns.length > 0 && <Result e={e} masked={masked} />}
          {e.text && (
            <p className="reply-text">
              <code>
                <Marked text={e.text} max={4000} />
              </code>
            </p>
          )}
          {e.error && <Fault text={e.error} />}
        </>
      );
    case "note":
      return (
        <p className="note">
          <span className="dim">doorward:</span> <Marked text={e.text} max={4000} />
        </p>
      );
    case "cut":
      return (
        <p className="note cut">
          <Icon name="warn" /> <Marked text={e.text || "Part of the reply is not in the recording: it was over the size bound."} max={1000} />
        </p>
      );
    case "input":
      return (
        <div className="input-part">
          <span className="dim">the client sent</span>
          <pre className="code small-code" tabIndex={0}>
            <Marked text={e.text} max={20_000} />
          </pre>
        </div>
      );
    case "resize":
      return (
        <p className="note dim">
          the terminal is now <Marked text={e.size} max={32} />
        </p>
      );
    default:
      return (
        <p className="note">
          <span className="dim">
            <Marked text={e.kind || "entry"} max={40} />:
          </span>{" "}
          <Marked text={e.text || e.error} max={2000} />
        </p>
      );
  }
}

const streamNames: Record<string, string> = { stderr: "error output", message: "doorward:" };

/** Output of an SSH session: its text, and on request with all that was in it. */
const Burst = memo(function Burst({ e }: { e: Entry }) {
  const text = plain(e.screen);
  return (
    <div className={`burst burst-${e.stream === "stderr" || e.stream === "message" ? e.stream : "stdout"}`}>
      {streamNames[e.stream] && <span className="dim">{streamNames[e.stream]}</span>}
      {text.trim() && (
        <pre className="code small-code" tabIndex={0}>
          <Marked text={text} max={4000} />
        </pre>
      )}
      {e.dropped > 0 && (
        <p className="note cut">
          <Icon name="warn" /> {plural(e.dropped, "byte")} of commands to the terminal {e.dropped === 1 ? "is" : "are"} not shown.
        </p>
      )}
      {e.truncated && <p className="note dim">The recording keeps the beginning of this.</p>}
      {e.text !== text && (
        <details>
          <summary className="dim">with its control characters</summary>
          <pre className="code small-code" tabIndex={0}>
            <Marked text={e.text} max={20_000} />
          </pre>
        </details>
      )}
    </div>
  );
});

function Fault({ text }: { text: string }) {
  return (
    <p className="fault">
      <Icon name="warn" />
      <code>
        <Marked text={text} max={4000} />
      </code>
    </p>
  );
}

function Outcome({ e }: { e: Entry }) {
  return (
    <>
      {e.error && <Fault text={e.error} />}
      <p className="outcome dim">
        {e.text ? <Marked text={e.text} max={400} /> : !e.error && plural(e.rowCount, "row")}
        {(e.text || !e.error) && e.tookMs > 0 && " · "}
        {e.tookMs > 0 && took(e.tookMs)}
      </p>
    </>
  );
}

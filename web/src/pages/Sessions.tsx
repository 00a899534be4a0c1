import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { api } from "../api/client";
import { usePollInterval } from "../api/live";
import type { Session } from "../api/types";
import { useMe } from "../api/queries";
import { useKeys, useNow, useSettled, useTitle } from "../lib/hooks";
import { Link, navigate, usePlace } from "../lib/router";
import { count, plural, span, whenShort } from "../lib/time";
import { Empty, ErrorBox, Loading, Who } from "../ui/bits";
import { Icon } from "../ui/icons";
import { Marked } from "../ui/Marked";
import { EndSession, SessionState } from "../ui/session";

const step = 100;

/** All sessions, the live ones first to be found. */
export function SessionsPage() {
  useTitle("Sessions");
  const { query } = usePlace();
  const me = useMe();
  const [q, setQ] = useState(query.get("q") ?? "");
  const [target, setTarget] = useState(query.get("target") ?? "");
  const [live, setLive] = useState(query.get("live") === "true");
  const [limit, setLimit] = useState(step);
  const term = useSettled(q.trim(), 250);
  const every = usePollInterval();
  const sessions = useQuery({
    queryKey: ["sessions", term, target, live, limit],
    queryFn: ({ signal }) => api.sessions({ q: term, target, live, limit }, signal),
    refetchInterval: every,
    placeholderData: keepPreviousData,
  });
  const targets = useQuery({ queryKey: ["targets"], queryFn: ({ signal }) => api.targets(signal), staleTime: 60_000 });
  const list = sessions.data ?? [];

  // The address says what is shown, so that it can be sent to somebody.
  useEffect(() => {
    const u = new URLSearchParams();
    if (term) u.set("q", term);
    if (target) u.set("target", target);
    if (live) u.set("live", "true");
    const s = u.toString();
    navigate("/sessions" + (s ? "?" + s : ""), true);
  }, [term, target, live]);

  const search = useRef<HTMLInputElement>(null);
  const [mark, setMark] = useState(-1);
  const move = (by: number) => setMark((m) => Math.max(0, Math.min(list.length - 1, m + by)));
  useKeys({
    "/": () => search.current?.focus(),
    j: () => move(1),
    k: () => move(-1),
    Enter: () => {
      const s = list[mark];
      if (s) navigate(`/sessions/${encodeURIComponent(s.id)}`);
    },
  });

  const filtered = term !== "" || target !== "" || live;
  return (
    <div className="page">
      <header className="page-head">
        <h1>Sessions</h1>
        <p className="dim">Every connection to a target, live or over, with its recording.</p>
      </header>
      <div className="filters" role="search">
        <label className="search">
          <span className="sr">Search sessions</span>
          <Icon name="search" />
          <input ref={search} type="search" placeholder="Person, agent, target, session…" maxLength={200} value={q} onChange={(e) => setQ(e.target.value)} data-testid="session-search" />
        </label>
        <label>
          <span className="sr">Target</span>
          <select value={target} onChange={(e) => setTarget(e.target.value)}>
            <option value="">All targets</option>
            {[...new Set([...(targets.data ?? []).map((t) => t.name), ...(target ? [target] : [])])].map((t) => (
              <option key={t} value={t}>
                {t.slice(0, 80)}
              </option>
            ))}
          </select>
        </label>
        <label className="check">
          <input type="checkbox" checked={live} onChange={(e) => setLive(e.target.checked)} /> Live only
        </label>
        <span className="spacer" />
        {sessions.isSuccess && <span className="dim small-text">{list.length >= limit ? `the latest ${count(limit)}` : plural(list.length, "session")}</span>}
      </div>
      {sessions.isError && <ErrorBox error={sessions.error} retry={() => void sessions.refetch()} title="The list is out of date" />}
      {sessions.isPending && <Loading what="sessions" />}
      {sessions.isSuccess && list.length === 0 && (
        <Empty icon="film" title={filtered ? "No session matches" : "No sessions yet"}>
          {filtered ? (
            <button
              type="button"
              className="link"
              onClick={() => {
                setQ("");
                setTarget("");
                setLive(false);
              }}
            >
              Show all sessions
            </button>
          ) : (
            me?.admin ? "When somebody connects to a target through doorward, the session is listed here and recorded." : "Your sessions and those of your agents are listed here. Administrators see everybody’s."
          )}
        </Empty>
      )}
      {list.length > 0 && (
        <div className="scroll-x">
          <table className="table rows-link" data-testid="sessions">
            <thead>
              <tr>
                <th scope="col">Who</th>
                <th scope="col">Target</th>
                <th scope="col">Started</th>
                <th scope="col">Length</th>
                <th scope="col" className="num">
                  Requests
                </th>
                <th scope="col" className="num">
                  Rows
                </th>
                <th scope="col" title="Requests that were denied or held for review">
                  Stopped
                </th>
                <th scope="col">State</th>
                <th scope="col">
                  <span className="sr">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {list.map((s, i) => (
                <Row key={s.id} s={s} marked={i === mark} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {list.length >= limit && limit < 500 && (
        <p className="center">
          <button type="button" className="button" onClick={() => setLimit(limit + step)} disabled={sessions.isFetching}>
            Show more
          </button>
        </p>
      )}
    </div>
  );
}

function Row({ s, marked }: { s: Session; marked: boolean }) {
  const now = useNow();
  const ref = useRef<HTMLTableRowElement>(null);
  useEffect(() => {
    if (marked) ref.current?.scrollIntoView({ block: "nearest" });
  }, [marked]);
  const to = `/sessions/${encodeURIComponent(s.id)}`;
  const start = Date.parse(s.started);
  const end = s.ended ? Date.parse(s.ended) : now;
  return (
    <tr ref={ref} className={marked ? "marked" : undefined} aria-selected={marked || undefined} data-testid="session-row" data-session={s.id}>
      <td>
        <Link to={to} className="row-link">
          <Who id={s.identity} />
        </Link>
      </td>
      <td>
        <span className="target">
          <Marked text={s.target} max={80} />
        </span>
      </td>
      <td title={s.started}>{whenShort(s.started, now)}</td>
      <td>{span(end - start)}</td>
      <td className="num">{count(s.requests)}</td>
      <td className="num">{count(s.rows)}</td>
      <td>
        {s.stopped > 0 ? <span className="tiny wait">{count(s.stopped)}</span> : <span className="dim">–</span>}
      </td>
      <td>
        <SessionState s={s} />
      </td>
      <td className="actions">{s.live && <EndSession s={s} />}</td>
    </tr>
  );
}

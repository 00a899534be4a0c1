import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { api } from "../api/client";
import { useLive } from "../api/live";
import type { Review } from "../api/types";
import { useWaiting } from "../api/queries";
import { useKeys, useTitle } from "../lib/hooks";
import { oneLine, segments } from "../lib/marks";
import { Link, navigate } from "../lib/router";
import { plural } from "../lib/time";
import { Ago, Empty, ErrorBox, Loading, ReviewState, Who } from "../ui/bits";
import { Left } from "../ui/Left";
import { ReviewDetail } from "./ReviewDetail";

/** Requests that wait for people, beside the one that is looked at. */
export function ReviewsPage({ id }: { id?: number }) {
  const [tab, setTab] = useState<"waiting" | "all">("waiting");
  const waiting = useWaiting();
  const live = useLive();
  const all = useQuery({ queryKey: ["reviews", "all"], queryFn: ({ signal }) => api.reviews("all", signal), enabled: tab === "all", refetchInterval: live === "live" ? 60_000 : 5_000 });
  const shown = tab === "waiting" ? waiting : all;
  const list = shown.data ?? [];
  const n = waiting.data?.length ?? 0;
  useTitle(`${n ? `(${n}) ` : ""}${id ? `Request ${id}` : "Requests"}`);

  const go = (by: number) => {
    if (list.length === 0) return;
    const at = list.findIndex((r) => r.id === id);
    const next = list[at < 0 ? (by > 0 ? 0 : list.length - 1) : Math.min(list.length - 1, Math.max(0, at + by))];
    if (next) navigate(`/reviews/${next.id}`);
  };
  useKeys({ j: () => go(1), k: () => go(-1), Escape: id ? () => navigate("/reviews") : undefined });

  return (
    <div className={`split${id ? " has-detail" : ""}`}>
      <section className="list-pane" aria-label="Requests">
        <header className="pane-head">
          <h1>Requests</h1>
          <div className="tabs" role="group" aria-label="Which requests">
            <button type="button" aria-pressed={tab === "waiting"} onClick={() => setTab("waiting")}>
              Waiting {n > 0 && <span className="count">{n}</span>}
            </button>
            <button type="button" aria-pressed={tab === "all"} onClick={() => setTab("all")}>
              All
            </button>
          </div>
        </header>
        <News list={waiting.data} />
        {shown.isPending && <Loading what="requests" />}
        {shown.isError && <ErrorBox error={shown.error} retry={() => void shown.refetch()} title="The list is out of date" />}
        {shown.isSuccess && list.length === 0 && (
          <Empty icon="inbox" title={tab === "waiting" ? "Nothing waits for an answer" : "No requests yet"}>
            {tab === "waiting" ? "When an agent asks for something that needs a person, it appears here by itself." : "Requests that policy holds for review are kept here with their answers."}
          </Empty>
        )}
        <ul className="review-list" data-testid="review-list">
          {list.map((r) => (
            <Row key={r.id} r={r} at={r.id === id} />
          ))}
        </ul>
      </section>
      <section className="detail-pane" aria-label="Request">
        {id ? (
          <ReviewDetail key={id} id={id} />
        ) : (
          list.length > 0 && (
            <Empty icon="inbox" title="Choose a request">
              Press <kbd>j</kbd> and <kbd>k</kbd> to go through them.
            </Empty>
          )
        )}
      </section>
    </div>
  );
}

// Says to those who do not see the list that it grew.
function News({ list }: { list?: Review[] }) {
  const seen = useRef<number | undefined>(undefined);
  const [text, set] = useState("");
  const newest = list?.reduce((m, r) => Math.max(m, r.id), 0);
  useEffect(() => {
    if (newest === undefined) return;
    if (seen.current !== undefined && newest > seen.current) set(`New request ${newest}. ${plural(list?.length ?? 0, "request")} waiting.`);
    seen.current = newest;
  }, [newest, list]);
  return (
    <span className="sr" role="status">
      {text}
    </span>
  );
}

// Only the beginning is looked at here: the page of the request looks at all.
const marked = (r: Review) => segments(r.statement.slice(0, 4000)).some((s) => s.mark && s.mark.kind !== "run" && s.mark.kind !== "sign");

function Row({ r, at }: { r: Review; at: boolean }) {
  const ref = useRef<HTMLLIElement>(null);
  useEffect(() => {
    if (at) ref.current?.scrollIntoView({ block: "nearest" });
  }, [at]);
  return (
    <li ref={ref}>
      <Link to={`/reviews/${r.id}`} className="review-row" aria-current={at ? "true" : undefined} data-testid="review-row" data-review={r.id}>
        <span className="row-top">
          <Who id={r.identity} />
          <span className="spacer" />
          <span className="dim small-text">
            <Ago iso={r.created} />
          </span>
        </span>
        <code className="row-sql">{oneLine(r.statement, 180) || "(no text)"}</code>
        <span className="row-foot">
          <span className="dim">#{r.id}</span>
          <span className="target">{oneLine(r.target, 60)}</span>
          {marked(r) && <span className="tiny bad">misleading text</span>}
          {r.effect.traits.filter((t) => t === "unbounded" || t === "irreversible" || t === "leaves").map((t) => (
            <span key={t} className="tiny bad">
              {t}
            </span>
          ))}
          <span className="spacer" />
          {r.state === "waiting" ? <Left expires={r.expires} /> : <ReviewState state={r.state} />}
        </span>
      </Link>
    </li>
  );
}

// The event stream. Events only ever tell what to look at again, or carry a
// newer version of what is shown; losing the stream loses nothing, because
// lists are then asked for every few seconds.

import { useQueryClient, type QueryClient } from "@tanstack/react-query";
import { createContext, useContext, useEffect, useState, type ReactNode } from "react";
import { eventsURL } from "./client";
import * as decode from "./decode";
import type { Review } from "./types";

export type LiveState = "connecting" | "live" | "polling";

const Live = createContext<LiveState>("connecting");

/** How the page hears of news at the moment. */
export const useLive = (): LiveState => useContext(Live);

/** How often to ask: seldom while the stream is up, often without it. */
export const usePollInterval = (): number => (useLive() === "live" ? 30_000 : 3_000);

/** Puts a review into every list and page that shows it. */
export function putReview(qc: QueryClient, r: Review): void {
  if (!r.id) return;
  qc.setQueryData<Review>(["review", r.id], r);
  const merge = (keep: (r: Review) => boolean) => (old: Review[] | undefined) => {
    if (!old) return old;
    const rest = old.filter((x) => x.id !== r.id);
    return keep(r) ? [...rest, r].sort((a, b) => b.id - a.id) : rest;
  };
  qc.setQueryData<Review[]>(["reviews", "waiting"], merge((x) => x.state === "waiting"));
  qc.setQueryData<Review[]>(["reviews", "all"], merge(() => true));
}

export function LiveProvider({ children }: { children: ReactNode }) {
  const qc = useQueryClient();
  const [state, setState] = useState<LiveState>("connecting");

  useEffect(() => {
    let source: EventSource | undefined;
    let again: ReturnType<typeof setTimeout> | undefined;
    let wait = 1000;
    let stopped = false;

    const open = () => {
      const es = new EventSource(eventsURL);
      source = es;
      es.onopen = () => {
        wait = 1000;
        setState("live");
        // What happened while nobody listened.
        void qc.invalidateQueries({ queryKey: ["reviews"] });
        void qc.invalidateQueries({ queryKey: ["sessions"] });
      };
      es.addEventListener("review", (e: MessageEvent<string>) => {
        try {
          putReview(qc, decode.review(JSON.parse(e.data)));
        } catch {
          void qc.invalidateQueries({ queryKey: ["reviews"] });
        }
      });
      es.addEventListener("session", () => {
        void qc.invalidateQueries({ queryKey: ["sessions"] });
        void qc.invalidateQueries({ queryKey: ["session"] });
      });
      es.onerror = () => {
        setState("polling");
        // The browser tries again by itself, unless the answer was an error.
        if (es.readyState === EventSource.CLOSED && !stopped) {
          clearTimeout(again);
          again = setTimeout(open, wait);
          wait = Math.min(wait * 2, 30_000);
          void qc.invalidateQueries({ queryKey: ["me"] });
        }
      };
    };
    open();
    return () => {
      stopped = true;
      clearTimeout(again);
      source?.close();
    };
  }, [qc]);

  return <Live value={state}>{children}</Live>;
}

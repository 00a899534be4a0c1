import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../api/client";
import type { Session } from "../api/types";
import { Confirm, Pill, Who } from "./bits";
import { Marked } from "./Marked";

/** Whether a session is live, or how it ended. */
export function SessionState({ s }: { s: Session }) {
  if (s.live)
    return (
      <span className="pill pill-good live-pill">
        <span className="dot" /> live
      </span>
    );
  const odd = /interrupt|kill|ended by|revoke|error|fail|fault|limit|time|lost|broken/i.test(s.why);
  return (
    <Pill tone={odd ? "wait" : "neutral"} title={s.why}>
      <Marked text={s.why || "ended"} max={40} />
    </Pill>
  );
}

/** The button that ends a live session, and its question. */
export function EndSession({ s }: { s: Session }) {
  const qc = useQueryClient();
  const [ask, setAsk] = useState(false);
  const kill = useMutation({
    mutationFn: () => api.kill(s.id),
    onSuccess: () => {
      setAsk(false);
      void qc.invalidateQueries({ queryKey: ["sessions"] });
      void qc.invalidateQueries({ queryKey: ["session", s.id] });
    },
  });
  return (
    <>
      <button type="button" className="button small bad-quiet" onClick={() => setAsk(true)} data-testid="end-session">
        End session
      </button>
      <Confirm open={ask} title="End this session?" yes="End session" busy={kill.isPending} error={kill.error} onYes={() => kill.mutate()} onClose={() => setAsk(false)}>
        <p>
          <Who id={s.identity} /> is connected to <Marked text={s.target} max={80} />. The connection is cut at once; what is running is cancelled and rolled back. The end is recorded with your name.
        </p>
        <p className="dim">The credential stays valid: to stop an agent for good, revoke its run.</p>
      </Confirm>
    </>
  );
}

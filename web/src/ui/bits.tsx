import { useEffect, useId, useRef, useState, type ReactNode } from "react";
import { ApiError } from "../api/client";
import type { Identity } from "../api/types";
import { ago, when } from "../lib/time";
import { useNow } from "../lib/hooks";
import { Icon, type IconName } from "./icons";
import { Marked } from "./Marked";

export type Tone = "neutral" | "good" | "bad" | "wait" | "info";

/** A short word with a colour. The word carries the meaning, not the colour. */
export function Pill({ tone = "neutral", icon, title, children }: { tone?: Tone; icon?: IconName; title?: string; children: ReactNode }) {
  return (
    <span className={`pill pill-${tone}`} title={title}>
      {icon && <Icon name={icon} />}
      {children}
    </span>
  );
}

const states: Record<string, [Tone, string]> = {
  waiting: ["wait", "waiting"],
  approved: ["good", "approved"],
  denied: ["bad", "denied"],
  expired: ["neutral", "expired"],
  spent: ["good", "approved and run"],
};

/** Where a review stands. */
export function ReviewState({ state }: { state: string }) {
  const [tone, text] = states[state] ?? ["neutral", state || "unknown"];
  return (
    <Pill tone={tone}>
      <Marked text={text} max={40} />
    </Pill>
  );
}

const decisions: Record<string, [Tone, string]> = { allow: ["good", "allowed"], review: ["wait", "held for review"], deny: ["bad", "denied"], error: ["bad", "error"] };

/** What was decided about a request. */
export function Decision({ decision }: { decision: string }) {
  const [tone, text] = decisions[decision] ?? ["neutral", decision || "not decided"];
  return (
    <Pill tone={tone}>
      <Marked text={text} max={40} />
    </Pill>
  );
}

/** The person, and the agent that acts for them. */
export function Who({ id, full = false }: { id: Identity; full?: boolean }) {
  return (
    <span className="who">
      <span className="who-name" title={id.subject}>
        <Marked text={id.name || "unknown"} max={120} />
      </span>
      {id.agent ? (
        <>
          <span className="dim"> via </span>
          <span className="who-agent">
            <Marked text={id.agent} max={80} />
          </span>
        </>
      ) : (
        full && <span className="dim">{id.workload ? " (a workload)" : " (in person)"}</span>
      )}
      {full && id.chain.length > 0 && (
        <span className="dim">
          {" "}
          through <Marked text={id.chain.join(" › ")} max={200} />
        </span>
      )}
    </span>
  );
}

/** "5 min ago", with the exact time on hover. */
export function Ago({ iso }: { iso: string }) {
  const now = useNow();
  if (!iso) return <span className="dim">–</span>;
  return (
    <time dateTime={iso} title={when(iso)}>
      {ago(iso, now)}
    </time>
  );
}

/** Something did not work: what, and what to do. */
export function ErrorBox({ error, retry, title }: { error: unknown; retry?: () => void; title?: string }) {
  if (!error) return null;
  const api = error instanceof ApiError ? error : undefined;
  const message = api?.message ?? (error instanceof Error ? error.message : "something failed");
  return (
    <div className="box box-bad" role="alert">
      <Icon name="warn" />
      <div>
        <strong>{title ?? "That did not work"}</strong>
        <p>
          <Marked text={message} max={1000} />
        </p>
        {api?.hint && (
          <p className="dim">
            <Marked text={api.hint} max={1000} />
          </p>
        )}
        {retry && (
          <button type="button" className="button small" onClick={retry}>
            Try again
          </button>
        )}
      </div>
    </div>
  );
}

/** Nothing is here, and why that may be. */
export function Empty({ icon, title, children }: { icon: IconName; title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <span className="empty-icon">
        <Icon name={icon} />
      </span>
      <h2>{title}</h2>
      {children && <p>{children}</p>}
    </div>
  );
}

/** Shown while the first answer is on its way. */
export function Loading({ what }: { what: string }) {
  return (
    <div className="loading" role="status">
      <span className="sr">Loading {what}…</span>
      <span className="bone bone-1" />
      <span className="bone bone-2" />
      <span className="bone bone-3" />
    </div>
  );
}

/** Copies a text to the clipboard. */
export function Copy({ text, what }: { text: string; what: string }) {
  const [state, set] = useState<"" | "done" | "failed">("");
  useEffect(() => {
    if (!state) return;
    const t = setTimeout(() => set(""), 1600);
    return () => clearTimeout(t);
  }, [state]);
  return (
    <button
      type="button"
      className="link"
      aria-label={`Copy ${what}`}
      onClick={() => {
        const p = navigator.clipboard?.writeText(text) ?? Promise.reject(new Error("no clipboard"));
        p.then(
          () => set("done"),
          () => set("failed"),
        );
      }}
    >
      <span aria-live="polite">{state === "done" ? "Copied" : state === "failed" ? "Copying is blocked" : "Copy"}</span>
    </button>
  );
}

/** A question that needs an answer before anything else. */
export function Dialog({ open, onClose, title, children }: { open: boolean; onClose: () => void; title: string; children: ReactNode }) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const d = ref.current;
    if (!d) return;
    if (open && !d.open) d.showModal();
    if (!open && d.open) d.close();
  }, [open]);
  return (
    <dialog
      ref={ref}
      aria-labelledby={id}
      onCancel={(e) => {
        e.preventDefault();
        onClose();
      }}
      onClose={() => open && onClose()}
    >
      {open && (
        <>
          <h2 id={id}>{title}</h2>
          {children}
        </>
      )}
    </dialog>
  );
}

/** A question with one yes. */
export function Confirm(props: { open: boolean; title: string; yes: string; busy: boolean; error: unknown; onYes: () => void; onClose: () => void; children: ReactNode }) {
  return (
    <Dialog open={props.open} onClose={props.onClose} title={props.title}>
      <form
        onSubmit={(e) => {
          e.preventDefault();
          if (!props.busy) props.onYes();
        }}
      >
        <div className="dialog-body">{props.children}</div>
        {props.error ? <ErrorBox error={props.error} /> : null}
        <div className="dialog-actions">
          <button type="button" className="button" onClick={props.onClose}>
            Cancel
          </button>
          <button type="submit" className="button bad" disabled={props.busy} autoFocus>
            {props.busy ? "Working…" : props.yes}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

/** A name and its value. */
export function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="fact">
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api } from "../api/client";
import type { Run } from "../api/types";
import { useNow, useTitle } from "../lib/hooks";
import { Link } from "../lib/router";
import { span, whenShort } from "../lib/time";
import { Confirm, Empty, ErrorBox, Loading, Pill } from "../ui/bits";
import { Marked } from "../ui/Marked";

/** Runs of agents: who let which agent in, for what, until when. */
export function AgentsPage() {
  useTitle("Agents");
  const [ended, setEnded] = useState(false);
  const runs = useQuery({ queryKey: ["runs"], queryFn: ({ signal }) => api.runs(signal), refetchInterval: 10_000 });
  const all = runs.data ?? [];
  const list = all.filter((r) => ended || r.live).sort((a, b) => Number(b.live) - Number(a.live) || b.started.localeCompare(a.started));
  return (
    <div className="page">
      <header className="page-head">
        <h1>Agents</h1>
        <p className="dim">Each run has a credential of its own that names the person and the agent. Revoking it ends its sessions at once.</p>
      </header>
      <div className="filters">
        <label className="check">
          <input type="checkbox" checked={ended} onChange={(e) => setEnded(e.target.checked)} /> Show runs that are over
        </label>
      </div>
      {runs.isPending && <Loading what="runs" />}
      {runs.isError && <ErrorBox error={runs.error} retry={() => void runs.refetch()} title="The list is out of date" />}
      {runs.isSuccess && list.length === 0 && (
        <Empty icon="agent" title={all.length > 0 ? "No agent is running" : "No agent has run yet"}>
          Start one with <code>doorward run --agent NAME -- COMMAND</code>.
        </Empty>
      )}
      {list.length > 0 && (
        <div className="scroll-x">
          <table className="table" data-testid="runs">
            <thead>
              <tr>
                <th scope="col">Agent</th>
                <th scope="col">For</th>
                <th scope="col">Task</th>
                <th scope="col">Targets</th>
                <th scope="col">Started</th>
                <th scope="col">State</th>
                <th scope="col">
                  <span className="sr">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {list.map((r) => (
                <Row key={r.id} r={r} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </div>
  );
}

function Row({ r }: { r: Run }) {
  const now = useNow();
  const left = Date.parse(r.expires) - now;
  return (
    <tr data-testid="run-row">
      <td>
        <strong>
          <Marked text={r.agent} max={80} />
        </strong>
        <br />
        <Link to={`/sessions?q=${encodeURIComponent(r.id)}`} className="dim mono small-text">
          <Marked text={r.id} max={24} />
        </Link>
      </td>
      <td>
        <Marked text={r.name} max={120} />
      </td>
      <td className="wrap">{r.task ? <Marked text={r.task} max={400} /> : <span className="dim">none given</span>}</td>
      <td>{r.targets.length > 0 ? r.targets.slice(0, 8).map((t) => <span key={t} className="target">{<Marked text={t} max={60} />}</span>) : <span className="dim">all of the person’s</span>}</td>
      <td>{whenShort(r.started, now)}</td>
      <td>{r.live && left > 0 ? <Pill tone="good">{span(left)} left</Pill> : <Pill>{r.ended ? "ended" : "expired"}</Pill>}</td>
      <td className="actions">{r.live && left > 0 && <Revoke r={r} />}</td>
    </tr>
  );
}

function Revoke({ r }: { r: Run }) {
  const qc = useQueryClient();
  const [ask, setAsk] = useState(false);
  const revoke = useMutation({
    mutationFn: () => api.revoke(r.id),
    onSuccess: () => {
      setAsk(false);
      void qc.invalidateQueries({ queryKey: ["runs"] });
      void qc.invalidateQueries({ queryKey: ["sessions"] });
    },
  });
  return (
    <>
      <button type="button" className="button small bad-quiet" onClick={() => setAsk(true)} data-testid="revoke">
        Revoke
      </button>
      <Confirm open={ask} title={`Revoke this run of ${r.agent.slice(0, 80)}?`} yes="Revoke" busy={revoke.isPending} error={revoke.error} onYes={() => revoke.mutate()} onClose={() => setAsk(false)}>
        <p>
          The credential stops working at once, and the sessions that it opened are ended. <Marked text={r.name} max={120} /> has to start the agent again.
        </p>
      </Confirm>
    </>
  );
}

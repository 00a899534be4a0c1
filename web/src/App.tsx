import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState, type ReactNode } from "react";
import { api } from "./api/client";
import { LiveProvider, useLive } from "./api/live";
import { meQuery, useWaiting } from "./api/queries";
import type { Me } from "./api/types";
import { useKeys, useTheme, type Theme } from "./lib/hooks";
import { Link, navigate, usePlace } from "./lib/router";
import { AgentsPage } from "./pages/Agents";
import { AuditPage } from "./pages/Audit";
import { ReviewsPage } from "./pages/Reviews";
import { SessionPage } from "./pages/SessionPage";
import { SessionsPage } from "./pages/Sessions";
import { SignIn } from "./pages/SignIn";
import { Dialog, Empty, ErrorBox, Loading } from "./ui/bits";
import { Icon, Logo, type IconName } from "./ui/icons";
import { Marked } from "./ui/Marked";

export function App() {
  const me = useQuery(meQuery);

  if (me.data === null) return <SignIn />;
  if (!me.data)
    return (
      <main className="alone">
        {me.isError ? <ErrorBox title="The console cannot start" error={me.error} retry={() => void me.refetch()} /> : <Loading what="the console" />}
      </main>
    );
  if (me.data.agent)
    return (
      <main className="alone">
        <Empty icon="agent" title="This sign-in belongs to an agent">
          Agents cannot use the console. A person has to sign in.
        </Empty>
      </main>
    );
  return (
    <LiveProvider key={me.data.subject}>
      <Shell me={me.data} />
    </LiveProvider>
  );
}

function Shell({ me }: { me: Me }) {
  const { path } = usePlace();
  const [help, setHelp] = useState(false);
  useKeys({ "?": () => setHelp(true), "1": () => navigate("/reviews"), "2": () => navigate("/sessions"), "3": () => navigate("/agents"), "4": () => navigate("/audit") });

  const where = path[0] ?? "";
  useEffect(() => {
    // Addresses that messages carry.
    if (where === "") navigate("/reviews", true);
    else if (where === "requests" || where === "review") navigate("/reviews" + (path[1] ? "/" + encodeURIComponent(path[1]) : ""), true);
  }, [where, path]);

  return (
    <div className="shell">
      <a className="skip" href="#main">
        Skip to the content
      </a>
      <Side me={me} where={where} onHelp={() => setHelp(true)} />
      <main id="main" tabIndex={-1}>
        <Page path={path} />
      </main>
      <Dialog open={help} onClose={() => setHelp(false)} title="Keyboard">
        <div className="dialog-body">
          <table className="keys">
            <tbody>
              {shortcuts.map(([k, what]) => (
                <tr key={what}>
                  <th scope="row">
                    {k.split(" ").map((x) => (
                      <kbd key={x}>{x}</kbd>
                    ))}
                  </th>
                  <td>{what}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
        <div className="dialog-actions">
          <button type="button" className="button" onClick={() => setHelp(false)} autoFocus>
            Close
          </button>
        </div>
      </Dialog>
    </div>
  );
}

const shortcuts: [string, string][] = [
  ["j k", "next, previous"],
  ["a d", "approve, deny: asks before it does"],
  ["Enter", "open the session that is marked"],
  ["/", "search sessions"],
  ["Space", "play or pause a replay"],
  ["← →", "step through a replay"],
  ["1 2 3 4", "requests, sessions, agents, audit"],
  ["?", "this help"],
];

function Page({ path }: { path: string[] }): ReactNode {
  const [where, id] = path;
  switch (where) {
    case undefined:
    case "requests":
    case "review":
      return null;
    case "reviews":
      return <ReviewsPage id={id && /^\d{1,15}$/.test(id) ? Number(id) : undefined} />;
    case "sessions":
      return id ? <SessionPage key={id} id={id} /> : <SessionsPage />;
    case "agents":
      return <AgentsPage />;
    case "audit":
      return <AuditPage />;
    default:
      return (
        <Empty icon="search" title="Nothing is here">
          This address does not lead anywhere. <Link to="/reviews">Go to the requests</Link>
        </Empty>
      );
  }
}

function Side({ me, where, onHelp }: { me: Me; where: string; onHelp: () => void }) {
  const waiting = useWaiting();
  const n = waiting.data?.length ?? 0;
  const qc = useQueryClient();
  const signOut = useMutation({
    mutationFn: () => api.signOut(),
    onSettled: () => {
      qc.clear();
      location.assign("/");
    },
  });
  return (
    <nav className="side" aria-label="Main">
      <Link to="/reviews" className="brand">
        <Logo />
        <span>doorward</span>
      </Link>
      <ul>
        <Item to="/reviews" icon="inbox" at={where === "reviews"} badge={n}>
          Requests
        </Item>
        <Item to="/sessions" icon="film" at={where === "sessions"}>
          Sessions
        </Item>
        <Item to="/agents" icon="agent" at={where === "agents"}>
          Agents
        </Item>
        <Item to="/audit" icon="seal" at={where === "audit"}>
          Audit
        </Item>
      </ul>
      <span className="spacer" />
      <LiveBadge />
      <div className="me">
        <span className="me-name" title={me.subject}>
          <Icon name="person" />
          <span>
            <Marked text={me.name} max={80} />
          </span>
        </span>
        <span className="me-tools">
          <ThemeButton />
          <button type="button" className="tool" onClick={onHelp} aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)">
            <Icon name="keys" />
          </button>
          <button type="button" className="tool" onClick={() => signOut.mutate()} disabled={signOut.isPending} aria-label="Sign out" title="Sign out">
            <Icon name="out" />
          </button>
        </span>
      </div>
    </nav>
  );
}

function Item({ to, icon, at, badge, children }: { to: string; icon: IconName; at: boolean; badge?: number; children: ReactNode }) {
  return (
    <li>
      <Link to={to} aria-current={at ? "page" : undefined}>
        <Icon name={icon} />
        <span>{children}</span>
        {badge ? (
          <span className="badge" aria-label={`${badge} waiting`}>
            {badge > 99 ? "99+" : badge}
          </span>
        ) : null}
      </Link>
    </li>
  );
}

function LiveBadge() {
  const live = useLive();
  return (
    <span className={`live-state live-${live}`} role="status" title={live === "live" ? "News arrive as they happen" : "The event stream is down: the page asks every 3 seconds"}>
      <span className="dot" />
      {live === "live" ? "Live" : live === "connecting" ? "Connecting" : "Reconnecting"}
    </span>
  );
}

function ThemeButton() {
  const [theme, set] = useTheme();
  const next: Record<Theme, Theme> = { system: "light", light: "dark", dark: "system" };
  const name: Record<Theme, string> = { system: "as the system", light: "light", dark: "dark" };
  return (
    <button type="button" className="tool" onClick={() => set(next[theme])} aria-label={`Colours: ${name[theme]}. Change to ${name[next[theme]]}`} title={`Colours: ${name[theme]}`}>
      <Icon name={theme === "system" ? "auto" : theme === "light" ? "sun" : "moon"} />
    </button>
  );
}

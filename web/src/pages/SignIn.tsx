import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useId, useState } from "react";
import { api } from "../api/client";
import type { Provider } from "../api/types";
import { useTitle } from "../lib/hooks";
import { ErrorBox, Loading } from "../ui/bits";
import { Logo } from "../ui/icons";
import { Marked } from "../ui/Marked";

/** Signs a person in: by password with a local provider, by redirect with the others. */
export function SignIn() {
  useTitle("Sign in");
  const providers = useQuery({ queryKey: ["providers"], queryFn: ({ signal }) => api.providers(signal), staleTime: 60_000, retry: 5 });
  const list = providers.data ?? [];
  const local = list.filter((p) => p.kind === "local");
  const redirect = list.filter((p) => p.kind !== "local" && p.kind !== "workload" && here(p.url));

  return (
    <main className="signin">
      <div className="signin-card">
        <h1>
          <Logo /> doorward
        </h1>
        <p className="dim">Sign in to answer requests and to see sessions.</p>
        {providers.isPending && <Loading what="the ways to sign in" />}
        {providers.isError && <ErrorBox error={providers.error} retry={() => void providers.refetch()} title="The ways to sign in are not known" />}
        {redirect.map((p) => (
          <a key={p.name} className="button primary wide" href={`${p.url}?next=${encodeURIComponent(location.pathname + location.search)}`} data-testid={`signin-${p.name}`}>
            Continue with&nbsp;
            <Marked text={p.name} max={60} />
          </a>
        ))}
        {redirect.length > 0 && local.length > 0 && <p className="or">or with a password</p>}
        {local.length > 0 && <Password providers={local} primary={redirect.length === 0} />}
        {providers.isSuccess && redirect.length === 0 && local.length === 0 && (
          <div className="box">
            <div>
              <strong>Nobody can sign in here</strong>
              <p>The configuration has no provider for people. Add one with oidc or local under identity.providers.</p>
            </div>
          </div>
        )}
      </div>
    </main>
  );
}

// Only a path of this server starts a sign-in.
const here = (url: string) => /^\/[^/\\]/.test(url) || url.startsWith(location.origin + "/");

function Password({ providers, primary }: { providers: Provider[]; primary: boolean }) {
  const qc = useQueryClient();
  const [provider, setProvider] = useState(providers[0]?.name ?? "");
  const [user, setUser] = useState("");
  const [password, setPassword] = useState("");
  const id = useId();
  const signIn = useMutation({
    mutationFn: () => api.signIn(provider, user.trim(), password),
    onSuccess: (me) => {
      qc.setQueryData(["me"], me);
      // Asked again, so that what the page knows is what the cookie says.
      void qc.invalidateQueries({ queryKey: ["me"] });
    },
    onError: () => setPassword(""),
  });
  return (
    <form
      onSubmit={(e) => {
        e.preventDefault();
        if (user.trim() && password && !signIn.isPending) signIn.mutate();
      }}
    >
      {providers.length > 1 && (
        <>
          <label htmlFor={id + "p"}>Provider</label>
          <select id={id + "p"} value={provider} onChange={(e) => setProvider(e.target.value)}>
            {providers.map((p) => (
              <option key={p.name}>{p.name}</option>
            ))}
          </select>
        </>
      )}
      <label htmlFor={id + "u"}>User</label>
      <input id={id + "u"} name="username" autoComplete="username" autoCapitalize="none" spellCheck={false} maxLength={256} autoFocus value={user} onChange={(e) => setUser(e.target.value)} />
      <label htmlFor={id + "w"}>Password</label>
      <input id={id + "w"} name="password" type="password" autoComplete="current-password" maxLength={1024} value={password} onChange={(e) => setPassword(e.target.value)} />
      {signIn.isError && <ErrorBox error={signIn.error} title="The sign-in did not work" />}
      <button type="submit" className={`button wide ${primary ? "primary" : ""}`} disabled={signIn.isPending || !user.trim() || !password}>
        {signIn.isPending ? "Signing in…" : "Sign in"}
      </button>
    </form>
  );
}

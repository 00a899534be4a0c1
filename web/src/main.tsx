import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { ApiError } from "./api/client";
import { App } from "./App";
import { applyTheme } from "./lib/hooks";
import { Boundary } from "./ui/Boundary";
import "./styles/base.css";
import "./styles/frame.css";
import "./styles/parts.css";
import "./styles/pages.css";
import "./styles/requests.css";
import "./styles/statements.css";
import "./styles/dialogs.css";
import "./styles/sessions.css";
import "./styles/alone.css";
import "./styles/narrow.css";

applyTheme();

const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 2_000,
      retry: (n, e) => n < 2 && !(e instanceof ApiError && e.status >= 400 && e.status < 500),
      retryDelay: (n) => 500 * 2 ** n,
    },
    mutations: { retry: false },
  },
});

// A sign-in can end at any time. The first answer that says so brings the
// sign-in page.
client.getQueryCache().subscribe((e) => {
  if (e.type !== "updated" || e.action.type !== "error") return;
  const err: unknown = e.action.error;
  if (err instanceof ApiError && err.status === 401 && e.query.queryKey[0] !== "me") void client.invalidateQueries({ queryKey: ["me"] });
});

const root = document.getElementById("root");
if (root)
  createRoot(root).render(
    <StrictMode>
      <Boundary>
        <QueryClientProvider client={client}>
          <App />
        </QueryClientProvider>
      </Boundary>
    </StrictMode>,
  );

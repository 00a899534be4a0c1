import { useQuery } from "@tanstack/react-query";
import { api } from "./client";
import { usePollInterval } from "./live";
import type { Me } from "./types";

/** The question who is signed in. */
export const meQuery = { queryKey: ["me"], queryFn: ({ signal }: { signal: AbortSignal }) => api.me(signal), staleTime: 60_000, refetchInterval: 60_000 };

/** Who is signed in. */
export const useMe = (): Me | null | undefined => useQuery(meQuery).data;

/** The requests that wait, shared by the list, the menu and the title. */
export function useWaiting() {
  const every = usePollInterval();
  return useQuery({ queryKey: ["reviews", "waiting"], queryFn: ({ signal }) => api.reviews("waiting", signal), refetchInterval: every });
}

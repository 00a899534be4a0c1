import { useNow } from "../lib/hooks";
import { span } from "../lib/time";
import { Icon } from "./icons";

/** How long a request can still be answered. */
export function Left({ expires }: { expires: string }) {
  const now = useNow();
  const ms = Date.parse(expires) - now;
  if (!Number.isFinite(ms)) return null;
  return (
    <span className={`left${ms < 5 * 60_000 ? " soon" : ""}`} title={`Can be answered until ${new Date(expires).toLocaleString()}`}>
      <Icon name="clock" />
      {ms > 0 ? `${span(ms)} left` : "expired"}
    </span>
  );
}

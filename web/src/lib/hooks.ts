import { useEffect, useRef, useState, useSyncExternalStore } from "react";

// One clock for all that counts down or says "5 min ago".
const tickers = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;
let nowValue = Date.now();

function subscribeNow(l: () => void) {
  tickers.add(l);
  timer ??= setInterval(() => {
    nowValue = Date.now();
    tickers.forEach((t) => t());
  }, 1000);
  return () => {
    tickers.delete(l);
    if (tickers.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

/** The time, once a second. */
export const useNow = (): number => useSyncExternalStore(subscribeNow, () => nowValue);

/** The value, once it has stopped changing for a while. */
export function useSettled<T>(value: T, ms: number): T {
  const [settled, set] = useState(value);
  useEffect(() => {
    const t = setTimeout(() => set(value), ms);
    return () => clearTimeout(t);
  }, [value, ms]);
  return settled;
}

/** Single-key commands. They rest while somebody types or a dialog is open. */
export function useKeys(keys: Record<string, (() => void) | undefined>): void {
  const latest = useRef(keys);
  useEffect(() => {
    latest.current = keys;
  });
  useEffect(() => {
    const on = (e: KeyboardEvent) => {
      if (e.ctrlKey || e.metaKey || e.altKey || e.isComposing || e.defaultPrevented) return;
      const t = e.target as HTMLElement | null;
      if (t && (t.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(t.tagName))) return;
      if (document.querySelector("dialog[open]")) return;
      // Space and Enter belong to what has the focus.
      if ((e.key === " " || e.key === "Enter") && t && /^(A|BUTTON|SUMMARY)$/.test(t.tagName)) return;
      const f = latest.current[e.key];
      if (!f) return;
      e.preventDefault();
      f();
    };
    window.addEventListener("keydown", on);
    return () => window.removeEventListener("keydown", on);
  }, []);
}

/** The title of the page. */
export function useTitle(title: string): void {
  useEffect(() => {
    document.title = title ? `${title} · doorward` : "doorward";
  }, [title]);
}

export type Theme = "system" | "light" | "dark";
const themeKey = "doorward.theme";

export function applyTheme(): void {
  setTheme(readTheme());
}

function readTheme(): Theme {
  try {
    const t = localStorage.getItem(themeKey);
    return t === "light" || t === "dark" ? t : "system";
  } catch {
    return "system";
  }
}

function setTheme(t: Theme): void {
  if (t === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = t;
  try {
    if (t === "system") localStorage.removeItem(themeKey);
    else localStorage.setItem(themeKey, t);
  } catch {
    // Storage may be forbidden: the choice then lasts as long as the page.
  }
}

/** Light, dark, or as the system has it. */
export function useTheme(): [Theme, (t: Theme) => void] {
  const [t, set] = useState<Theme>(readTheme);
  return [
    t,
    (next) => {
      setTheme(next);
      set(next);
    },
  ];
}

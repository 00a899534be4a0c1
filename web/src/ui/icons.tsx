const paths = {
  inbox: "M2.5 9.5 4.6 3.4h6.8l2.1 6.1M2.5 9.5v3.1h11V9.5M2.5 9.5h3.2l.9 1.6h2.8l.9-1.6h3.2",
  film: "M2.5 3.5h11v9h-11zM6.6 6v4l3.4-2z",
  agent: "M4 6.5h8v6H4zM8 6.5V3.6M6.4 9.2v.9M9.6 9.2v.9M2.4 8.7v1.8M13.6 8.7v1.8",
  seal: "M8 2.2 12.9 4v4c0 3-2.1 4.9-4.9 5.9C5.2 12.9 3.1 11 3.1 8V4zM5.9 8l1.5 1.5 2.9-3",
  warn: "M8 2.6 14.2 13H1.8zM8 6.6v3M8 11.3v.1",
  check: "M3.2 8.4 6.4 11.6 12.8 4.8",
  cross: "M4 4l8 8M12 4l-8 8",
  play: "M5 3.2v9.6L12.6 8z",
  pause: "M5.2 3.4v9.2M10.8 3.4v9.2",
  next: "M4.2 3.6v8.8L10.2 8zM12 3.6v8.8",
  prev: "M11.8 3.6v8.8L5.8 8zM4 3.6v8.8",
  copy: "M5.5 5.5h7v8h-7zM10.5 5.5v-3h-7v8h2",
  person: "M8 8.2a2.6 2.6 0 1 0 0-5.2 2.6 2.6 0 0 0 0 5.2zM3 13.4c.5-2.5 2.4-3.7 5-3.7s4.5 1.2 5 3.7",
  clock: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11zM8 5v3.2l2.1 1.3",
  out: "M6.5 2.8h-3.3v10.4h3.3M6.5 8h7M10.8 5.2 13.5 8l-2.7 2.8",
  search: "M7 2.8a4.2 4.2 0 1 0 0 8.4 4.2 4.2 0 0 0 0-8.4zM10.2 10.2l3.2 3.2",
  mask: "M2.5 5c3-1.3 8-1.3 11 0 0 4-1.7 5.8-3.4 5.8-1.2 0-1.6-1-2.1-1s-.9 1-2.1 1C4.2 10.8 2.5 9 2.5 5zM5 7.2h1.6M9.4 7.2H11",
  sun: "M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6zM8 1.8v1.4M8 12.8v1.4M1.8 8h1.4M12.8 8h1.4M3.6 3.6l1 1M11.4 11.4l1 1M12.4 3.6l-1 1M4.6 11.4l-1 1",
  moon: "M12.9 9.6A5.3 5.3 0 0 1 6.4 3.1a5.3 5.3 0 1 0 6.5 6.5z",
  auto: "M8 2.5a5.5 5.5 0 1 0 0 11zM8 2.5a5.5 5.5 0 0 1 0 11",
  keys: "M2 4.5h12v7H2zM4.5 7h.1M7 7h.1M9.5 7h.1M12 7h.1M5.5 9.3h5",
} as const;

export type IconName = keyof typeof paths;

/** A small picture beside a word that says the same. */
export function Icon({ name }: { name: IconName }) {
  return (
    <svg className="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false">
      <path d={paths[name]} fill="none" stroke="currentColor" strokeWidth="1.35" strokeLinecap="round" strokeLinejoin="round" />
    </svg>
  );
}

/** The door. */
export function Logo() {
  return (
    <svg className="logo" viewBox="0 0 32 32" width="24" height="24" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="7" className="logo-ground" />
      <path d="M9 26V8.5A2.5 2.5 0 0 1 11.5 6h9A2.5 2.5 0 0 1 23 8.5V26M6.5 26h19" fill="none" className="logo-line" strokeWidth="2.4" strokeLinecap="round" />
      <circle cx="19" cy="16.5" r="1.7" className="logo-knob" />
    </svg>
  );
}

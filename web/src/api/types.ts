// What the API answers, as the console uses it. decode.ts makes these from
// JSON and lets nothing else through.

export interface Identity {
  subject: string;
  name: string;
  provider: string;
  groups: string[];
  agent: string;
  run: string;
  chain: string[];
  workload: boolean;
  expires: string;
}

export interface Me extends Identity {
  admin: boolean;
  csrf: string;
}

export interface Provider {
  name: string;
  kind: string;
  url: string;
}

export interface Quorum {
  groups: string[];
  users: string[];
  count: number;
  selfApproval: boolean;
}

export interface Vote {
  by: string;
  approve: boolean;
  comment: string;
  maxRows: number;
  self: boolean;
  at: string;
}

export interface EffectObject {
  kind: string;
  name: string;
  verbs: string[];
}

export interface Effect {
  verbs: string[];
  kinds: string[];
  traits: string[];
  objects: EffectObject[];
  complete: boolean;
  readOnly: boolean;
  refuse: string;
  bound: number;
  masked: string[];
}

export interface Review {
  id: number;
  digest: string;
  state: string;
  identity: Identity;
  target: string;
  protocol: string;
  session: string;
  statement: string;
  params: string[];
  preview: string; // what would change, as a rehearsal at the target showed it
  effect: Effect;
  why: string;
  rule: string;
  reason: string;
  reviewers: Quorum[];
  maxRows: number;
  policy: string;
  fingerprint: string;
  votes: Vote[];
  created: string;
  decided: string;
  expires: string;
  mine: boolean;
  canVote: boolean;
  whyNot: string;
}

export interface Session {
  id: string;
  identity: Identity;
  target: string;
  protocol: string;
  remote: string;
  started: string;
  ended: string;
  why: string;
  live: boolean;
  requests: number;
  rows: number;
  bytes: number;
  stopped: number; // requests that were denied or held
}

export interface Entry {
  at: number; // milliseconds since the session began
  request: number;
  kind: string;
  statement: string;
  params: string[];
  decision: string;
  rule: string;
  reason: string;
  review: number;
  masked: string[];
  columns: string[];
  rows: (string | null)[][];
  truncated: boolean;
  text: string;
  error: string;
  rowCount: number;
  tookMs: number;
  stream: string; // of an SSH session's reply: stdout, stderr or message
  screen: string; // what of the reply a terminal may draw
  dropped: number; // bytes of commands to the terminal that screen leaves out
  size: string; // of a request with a terminal, and of a resize: "80x24"
}

export interface Verified {
  ok: boolean;
  problems: string[];
}

export interface Timeline {
  header: { session: string; identity: Identity; target: string; protocol: string; remote: string; started: string };
  entries: Entry[];
  truncated: boolean; // the server left entries out
  seal: string; // last link of the chain, once the session has ended
  verified: Verified;
}

export interface Run {
  id: string;
  agent: string;
  name: string;
  task: string;
  targets: string[];
  started: string;
  expires: string;
  ended: string;
  live: boolean;
}

export interface Audit {
  size: number;
  root: string;
  checkpoint: string;
  ok: boolean;
  problems: string[];
  checkedAt: string;
}

export interface Target {
  name: string;
  protocol: string;
  database: string;
}

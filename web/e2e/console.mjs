// Drives the console in a real browser against a running doorward, the way a
// reviewer would, and says what it saw.
//
//   DOORWARD_URL             the console's address (needed)
//   DOORWARD_USER            who signs in (needed)
//   DOORWARD_PASSWORD        (needed)
//   DOORWARD_PROVIDER        name of the local provider, when there are several
//   DOORWARD_APPROVE_REVIEW  1: wait for a request to appear and approve it
//   DOORWARD_TRIGGER         shell command that makes a request wait, started
//                            once the page listens; without it, something else
//                            has to make one within DOORWARD_PATIENCE
//   DOORWARD_SESSION         the session to look at; otherwise the approved
//                            request's own, or the first in the list
//   DOORWARD_SSH_SESSION     an SSH session to look at as well
//   DOORWARD_EXPECT_MASKED   1: fail when the session shows no masked value
//   DOORWARD_SECRETS         comma-separated values that must never be shown
//   DOORWARD_PATIENCE        seconds to wait for the request (60)
//   CHROMIUM                 /usr/bin/chromium
//   OUT                      folder for screenshots (e2e/out)
//
// Exit status: 0 all seen; 1 something was not as it should be, with the path
// of a screenshot; 2 wrong use.
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const env = process.env;
for (const k of ["DOORWARD_URL", "DOORWARD_USER", "DOORWARD_PASSWORD"])
  if (!env[k]) {
    console.error(`console.mjs: ${k} is not set`);
    process.exit(2);
  }
const base = env.DOORWARD_URL.replace(/\/+$/, "");
const approve = env.DOORWARD_APPROVE_REVIEW === "1";
const patience = Number(env.DOORWARD_PATIENCE ?? 60) * 1000;
const out = env.OUT ?? fileURLToPath(new URL("./out/", import.meta.url));
mkdirSync(out, { recursive: true });

const started = Date.now();
const saw = (what, ...more) => console.log(`[${((Date.now() - started) / 1000).toFixed(1)} s] ${what}`, ...more);
const check = (ok, what) => {
  if (!ok) throw new Error(what);
};

const browser = await chromium.launch({
  executablePath: env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1360, height: 900 }, reducedMotion: "reduce" });
const page = await context.newPage();
page.setDefaultTimeout(30_000);

// What must not happen, whatever else goes well.
const faults = [];
let loads = 0;
page.on("pageerror", (e) => faults.push(`a script failed: ${e.message}`));
page.on("console", (m) => {
  if (/Content.Security.Policy|refused to/i.test(m.text())) faults.push(`the page's policy was violated: ${m.text()}`);
});
page.on("request", (r) => {
  if (!r.url().startsWith(base + "/")) faults.push(`the page asked another host: ${r.url().slice(0, 200)}`);
  if (r.isNavigationRequest() && r.frame() === page.mainFrame()) loads++;
});

const shot = async (name) => {
  const path = join(out, name + ".png");
  await page.screenshot({ path });
  return path;
};
const id = (x) => page.getByTestId(x);
let trigger;

try {
  // Sign in.
  await page.goto(base + "/");
  const user = page.getByLabel("User", { exact: true });
  await user.waitFor();
  await page.getByLabel("Password", { exact: true }).waitFor();
  if (env.DOORWARD_PROVIDER && (await page.getByLabel("Provider").count())) await page.getByLabel("Provider").selectOption(env.DOORWARD_PROVIDER);
  await user.fill(env.DOORWARD_USER);
  await page.getByLabel("Password", { exact: true }).fill("not the password");
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByText("The sign-in did not work", { exact: true }).waitFor();
  saw("a wrong password is refused:", (await page.getByRole("alert").innerText()).replaceAll("\n", " · "));
  await page.getByLabel("Password", { exact: true }).fill(env.DOORWARD_PASSWORD);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByRole("navigation", { name: "Main" }).waitFor();
  saw("signed in as", env.DOORWARD_USER);
  const cookies = (await context.cookies()).filter((c) => c.name === "doorward_session");
  check(cookies.length === 1 && cookies[0].httpOnly, "the session cookie is missing, or scripts can read it");
  check(!base.startsWith("https:") || cookies[0].secure, "the session cookie is not marked Secure");
  const kept = await page.evaluate(() => JSON.stringify({ ...localStorage }) + JSON.stringify({ ...sessionStorage }) + document.cookie);
  check(!/doorward_session|token|csrf/i.test(kept), "the page keeps a secret where scripts can read it");

  await page.getByText("Live", { exact: true }).waitFor();
  saw("the event stream is up");

  let session = env.DOORWARD_SESSION ?? "";
  if (approve) {
    // A request appears without a reload.
    const rows = id("review-row");
    const before = new Set(await rows.evaluateAll((els) => els.map((e) => e.dataset.review)));
    saw(`${before.size} requests wait; waiting for another to appear`);
    const loadsBefore = loads;
    if (env.DOORWARD_TRIGGER) {
      trigger = spawn("/bin/sh", ["-c", env.DOORWARD_TRIGGER], { stdio: ["ignore", "inherit", "inherit"] });
      trigger.done = new Promise((r) => trigger.on("exit", (code) => r(code)));
    }
    const since = Date.now();
    let review;
    while (!review && Date.now() - since < patience) {
      review = (await rows.evaluateAll((els) => els.map((e) => e.dataset.review))).find((x) => !before.has(x));
      if (!review) await page.waitForTimeout(100);
    }
    // Without a trigger the request may have been there from the start.
    if (!review && !env.DOORWARD_TRIGGER && before.size > 0) {
      review = [...before][0];
      saw(`request ${review} was there already`);
    } else {
      check(review, `no request appeared within ${patience / 1000} s`);
      check(loads === loadsBefore, "the page was loaded again");
      saw(`request ${review} appeared live, without a reload`);
    }
    await page.locator(`[data-testid=review-row][data-review="${review}"]`).click();
    const detail = id("review-detail");
    await detail.waitFor();
    const statement = await id("statement").first().innerText();
    saw("who:", (await detail.locator("h1").innerText()).replace(/\s+/g, " "));
    saw("why:", (await page.getByRole("region", { name: "Why" }).innerText()).replace(/\s+/g, " "));
    saw("statement:", JSON.stringify(statement));
    check(statement.trim().length > 0, "the statement is empty");
    if (await id("params").count()) saw("parameters:", (await id("params").innerText()).replace(/\s+/g, " "));
    saw("effect:", (await id("traits").innerText()).replace(/\s+/g, " "));
    if (await id("objects").count()) saw("touches:", (await id("objects").locator("tbody").innerText()).replace(/\s+/g, " "));
    const link = detail.locator('a[href^="/sessions/"]');
    if (!session && (await link.count())) session = decodeURIComponent((await link.first().getAttribute("href")).slice("/sessions/".length));
    await shot("1-request");

    // By keyboard: a asks, and nothing happens before the confirmation.
    await page.keyboard.press("a");
    await page.getByRole("dialog").waitFor();
    check((await detail.getAttribute("data-state")) === "waiting", "it was decided before it was confirmed");
    await id("comment").fill("Checked in the browser: the ticket says so.");
    if (await id("max-rows").count()) {
      if (!(await id("max-rows").inputValue())) await id("max-rows").fill("10");
      saw("at most", await id("max-rows").inputValue(), "rows");
    }
    await shot("2-approve");
    await id("confirm").click();
    await page.getByRole("dialog").waitFor({ state: "hidden" });
    await id("votes").getByText("Checked in the browser").waitFor();
    saw("votes:", (await id("votes").innerText()).replace(/\s+/g, " "));
    await id("after").waitFor();
    saw("after:", (await id("after").innerText()).replace(/\s+/g, " "));
    const state = await detail.getAttribute("data-state");
    check(state === "approved" || state === "spent", `the state is ${state} after the yes`);
    if (trigger) {
      const code = await Promise.race([trigger.done, page.waitForTimeout(60_000).then(() => "no end")]);
      check(code === 0, `the held request ended with ${code}`);
      saw("the held request went on and ended well");
      await page.locator("[data-testid=review-detail][data-state=spent]").waitFor();
      saw("the approval is spent");
    }
    await shot("3-approved");
  }

  // Sessions.
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Sessions" }).click();
  await id("session-row").first().waitFor();
  saw(`${await id("session-row").count()} sessions; the first: ${(await id("session-row").first().innerText()).replace(/\s+/g, " ")}`);
  await id("session-search").fill("nothing is called like this, surely");
  await page.getByText("No session matches").waitFor();
  await id("session-search").fill("");
  await id("session-row").first().waitFor();
  await shot("4-sessions");
  if (session) await page.goto(`${base}/sessions/${encodeURIComponent(session)}`);
  else await id("session-row").first().locator("a").first().click();
  await id("timeline").waitFor();
  await id("step-card").first().waitFor();
  const cards = await id("step-card").count();
  saw(`a session with ${cards} steps`);
  for (const t of (await id("step-card").locator(".step-head").allInnerTexts()).slice(0, 8)) saw("  decision:", t.replace(/\s+/g, " "));

  const masked = await page.locator("td.is-masked").allInnerTexts();
  if (masked.length > 0) saw("masked values:", masked.slice(0, 6).join(" | "));
  else saw("no masked value in this session");
  check(masked.length > 0 || env.DOORWARD_EXPECT_MASKED !== "1", "no masked value is shown");
  const text = await page.locator("body").innerText();
  for (const secret of (env.DOORWARD_SECRETS ?? "").split(",").filter(Boolean)) check(!text.includes(secret), `a secret value is shown: ${secret.slice(0, 2)}…`);

  // Verified.
  await id("verified").waitFor();
  saw("verified:", (await id("verified").innerText()).replace(/\s+/g, " "));
  const live = (await page.locator(".live-pill").count()) > 0;
  check(live || (await id("verified").getAttribute("data-ok")) === "true", "the recording does not verify");

  // Replay: from the start, step by step, then play to the end.
  await page.getByLabel("Speed").selectOption("16");
  await page.getByLabel("Position").focus();
  await page.keyboard.press("Home");
  await page.waitForTimeout(200);
  const first = await id("step-card").count();
  await id("step").click();
  saw(`replay: ${first} of ${cards} steps at the start; after one step forward ${await id("step-card").count()}, at ${(await id("clock").innerText()).replace(/\s+/g, " ")}`);
  await id("play").click();
  await page.waitForFunction((n) => document.querySelectorAll("[data-testid=step-card]").length === n && document.querySelector("[data-testid=play]")?.getAttribute("aria-label") === "Play", cards, { timeout: 90_000 });
  saw(`replay: played to the end, at ${(await id("clock").innerText()).replace(/\s+/g, " ")}`);
  await shot("5-session");

  // A terminal: drawn at the end, at the start, and played.
  if (env.DOORWARD_SSH_SESSION) {
    await page.goto(`${base}/sessions/${encodeURIComponent(env.DOORWARD_SSH_SESSION)}`);
    const screen = id("terminal");
    await screen.getByText("$ ls").waitFor();
    const drawn = await screen.innerText();
    saw("terminal:", drawn.trim().split("\n").filter((l) => l.startsWith("$"))[0]);
    check(!/ZXZpbA|owned|\x1b/.test(drawn), "commands to the terminal are drawn");
    check(drawn.includes("<script>alert(1)</script>"), "text in the terminal is not text");
    check((await screen.locator(".tm-bold.tm-fg2").innerText()) === "bin", "colours are missing");
    await page.getByText("of commands to the terminal are not shown").waitFor();
    await page.getByLabel("Position").focus();
    await page.keyboard.press("Home");
    await page.waitForFunction(() => !document.querySelector("[data-testid=terminal]")?.textContent.includes("$ ls"));
    await id("play").click();
    await screen.getByText("$ ls").waitFor();
    await screen.getByText("<script>").waitFor();
    saw("terminal: played");
    await shot("5b-terminal");
  }

  // Audit and agents.
  const menu = page.getByRole("navigation", { name: "Main" });
  await menu.getByRole("link", { name: "Audit" }).click();
  await id("audit").waitFor();
  saw("audit:", (await id("audit").innerText()).replace(/\s+/g, " "), "· entries", await id("audit-size").innerText(), "· root", await id("audit-root").innerText());
  check((await id("audit").getAttribute("data-ok")) === "true", "the log does not check out");
  await shot("6-audit");
  await menu.getByRole("link", { name: "Agents" }).click();
  await page.getByRole("heading", { name: "Agents", exact: true }).waitFor();
  await page.waitForTimeout(500);
  saw(`agents: ${await id("run-row").count()} runs`);
  await shot("7-agents");

  check(faults.length === 0, faults.join("; "));
  saw("all seen");
} catch (e) {
  console.error(`FAILED: ${e.message.split("\n").slice(0, 3).join(" ")}`);
  for (const f of faults) console.error("  also:", f);
  try {
    console.error("screenshot:", await shot("failed"));
  } catch {
    console.error("screenshot: could not be taken");
  }
  process.exitCode = 1;
} finally {
  if (trigger && trigger.exitCode === null) trigger.kill();
  await browser.close();
}

import react from "@vitejs/plugin-react";
import { writeFileSync } from "node:fs";
import { defineConfig } from "vitest/config";

// The address of a running doorward (or of dev/mock.mjs) for `npm run dev`.
const upstream = process.env.DOORWARD_URL ?? "http://127.0.0.1:8444";

export default defineConfig({
  plugins: [
    react(),
    {
      // Emptying dist removes the committed placeholder: put it back.
      name: "keep",
      closeBundle() {
        writeFileSync(new URL("./dist/.keep", import.meta.url), "");
      },
    },
  ],
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: true,
    assetsInlineLimit: 0, // no data: URLs: the page's policy allows 'self' only
    modulePreload: { polyfill: false },
    sourcemap: false,
  },
  server: {
    proxy: {
      "/api": { target: upstream, changeOrigin: false, secure: false },
    },
  },
  test: { environment: "node", include: ["src/**/*.test.ts", "src/**/*.test.tsx"] },
});

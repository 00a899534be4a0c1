package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// ratio is a/b, or 0 where there is nothing to compare.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// print shows one part as a table.
func (r *results) print(out io.Writer, part string) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer w.Flush()
	row := func(format string, args ...any) { fmt.Fprintf(w, format+"\t\n", args...) }
	fmt.Fprintln(out)
	switch part {
	case "statements":
		fmt.Fprintln(out, "statements: pgbench, one SELECT by key (simple: every text is new; the others repeat one)")
		row("mode\tclients\tdirect tps\tpgbouncer\tdoorward\tof pgbouncer\tof direct\tpgbouncer CPU µs\tdoorward CPU µs\tratio")
		for _, s := range r.Statements {
			d, b, g := s.TPS["direct"], s.TPS["pgbouncer"], s.TPS["doorward"]
			row("%s\t%d\t%.0f\t%.0f\t%.0f\t%.2f\t%.2f\t%.1f\t%.1f\t%.2f", s.Mode, s.Clients, d, b, g, ratio(g, b), ratio(g, d), s.CPU["pgbouncer"], s.CPU["doorward"], ratio(s.CPU["doorward"], s.CPU["pgbouncer"]))
		}
	case "latency":
		fmt.Fprintln(out, "latency: one client, µs")
		row("mode\tdirect p50\tp99\tpgbouncer p50\tp99\tdoorward p50\tp99\tadded p50\tadded p99")
		for _, l := range r.Latency {
			row("%s\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f", l.Mode, l.P50["direct"], l.P99["direct"], l.P50["pgbouncer"], l.P99["pgbouncer"], l.P50["doorward"], l.P99["doorward"], l.P50["doorward"]-l.P50["direct"], l.P99["doorward"]-l.P99["direct"])
		}
	case "wide":
		fmt.Fprintln(out, "wide result: 10 text columns, value detection on")
		row("way\trows\tMB/s\tof direct\tCPU µs a row\tmemory after, MiB")
		for _, x := range r.Wide {
			row("%s\t%d\t%.0f\t%.2f\t%.2f\t%.0f", x.Way, x.Rows, x.MBs, ratio(x.MBs, r.Wide[0].MBs), x.CPU, float64(x.Peak)/(1<<20))
		}
	case "ssh":
		fmt.Fprintln(out, "ssh host cat bigfile: OpenSSH client and server, aes128-gcm")
		row("way\tMB/s\tof direct\tof the bare relay")
		for _, x := range r.SSH {
			row("%s\t%.0f\t%.2f\t%.2f", x.Way, x.MBs, ratio(x.MBs, r.SSH[0].MBs), ratio(x.MBs, r.SSH[1].MBs))
		}
	case "kubernetes":
		fmt.Fprintf(out, "a cluster: %d pods listed, %d changes watched\n", kubePods, kubeChanges)
		row("way\tlist ms\tof direct\tkubectl get ms\tof direct\twatch later, p50 ms\tp99 ms")
		for _, x := range r.Kubernetes {
			row("%s\t%.0f\t%.2f\t%.0f\t%.2f\t%.2f\t%.2f", x.Way, x.ListMS, ratio(x.ListMS, r.Kubernetes[0].ListMS), x.TableMS, ratio(x.TableMS, r.Kubernetes[0].TableMS), x.Late50, x.Late99)
		}
	case "http":
		fmt.Fprintf(out, "1 KiB of JSON, %d connections\n", httpConnections)
		row("way\trequests/s\tof direct\tof ReverseProxy\tp50 ms\tp99 ms")
		for _, x := range r.HTTP {
			row("%s\t%.0f\t%.2f\t%.2f\t%.2f\t%.2f", x.Way, x.RPS, ratio(x.RPS, r.HTTP[0].RPS), ratio(x.RPS, r.HTTP[2].RPS), x.P50, x.P99)
		}
	case "idle":
		fmt.Fprintln(out, "idle sessions")
		row("way\tsessions\tMiB before\tMiB after\tKiB each")
		for _, x := range r.Idle {
			row("%s\t%d\t%.0f\t%.0f\t%.1f", x.Way, x.Sessions, float64(x.Before)/(1<<20), float64(x.After)/(1<<20), x.Each)
		}
	}
}

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// statementResult is pgbench, select only, in one mode with some clients.
type statementResult struct {
	Mode    string             `json:"mode"`
	Clients int                `json:"clients"`
	TPS     map[string]float64 `json:"tps"`        // by way
	CPU     map[string]float64 `json:"cpu_micros"` // of the process in the middle, a statement
}

// latencyResult is one client's, in microseconds.
type latencyResult struct {
	Mode string             `json:"mode"`
	P50  map[string]float64 `json:"p50_micros"`
	P99  map[string]float64 `json:"p99_micros"`
}

const script = "\\set aid random(1, 100000)\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n"

var (
	tpsLine = regexp.MustCompile(`(?m)^tps = ([0-9.]+)`)
	done    = regexp.MustCompile(`(?m)^number of transactions actually processed: ([0-9]+)`)
)

// pgbench runs the script one way.
func pgbench(ctx context.Context, st *stage, w *way, mode string, clients, seconds int, more ...string) (tps float64, transactions int64, err error) {
	file := filepath.Join(st.dir, "select.sql")
	if err := os.WriteFile(file, []byte(script), 0o644); err != nil {
		return 0, 0, err
	}
	path, err := exec.LookPath("pgbench")
	if err != nil {
		return 0, 0, fmt.Errorf("pgbench is missing: run scripts/setup.sh")
	}
	args := append([]string{"-n", "-f", file, "-M", mode, "-c", strconv.Itoa(clients), "-j", strconv.Itoa(min(clients, 2)), "-T", strconv.Itoa(seconds)}, more...)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env, cmd.Dir = w.env(), st.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, 0, fmt.Errorf("pgbench %s by %s: %w\n%s", strings.Join(args, " "), w.name, err, out)
	}
	m, n := tpsLine.FindSubmatch(out), done.FindSubmatch(out)
	if n == nil || (m == nil && string(n[1]) != "0") {
		return 0, 0, fmt.Errorf("pgbench by %s printed no result:\n%s", w.name, out)
	}
	transactions, err = strconv.ParseInt(string(n[1]), 10, 64)
	if err != nil || transactions == 0 {
		return 0, 0, fmt.Errorf("pgbench by %s got nothing done in %d s: the machine is too busy to measure, or -seconds is too small:\n%s", w.name, seconds, out)
	}
	tps, err = strconv.ParseFloat(string(m[1]), 64)
	return tps, transactions, err
}

func statements(ctx context.Context, st *stage, s settings, r *results) error {
	for _, mode := range s.modes {
		for _, clients := range s.clients {
			tps, cpu := map[string][]float64{}, map[string][]float64{}
			for range s.runs {
				for _, w := range st.ways {
					before, err := w.cpu()
					if err != nil {
						return err
					}
					t, n, err := pgbench(ctx, st, w, mode, clients, s.seconds)
					if err != nil {
						return err
					}
					after, err := w.cpu()
					if err != nil {
						return err
					}
					tps[w.name] = append(tps[w.name], t)
					cpu[w.name] = append(cpu[w.name], float64((after-before).Microseconds())/float64(n))
				}
			}
			res := statementResult{Mode: mode, Clients: clients, TPS: map[string]float64{}, CPU: map[string]float64{}}
			for _, w := range st.ways {
				res.TPS[w.name], res.CPU[w.name] = median(tps[w.name]), median(cpu[w.name])
			}
			r.Statements = append(r.Statements, res)
		}
	}
	return nil
}

// latency takes each transaction's time from pgbench's own log.
func latency(ctx context.Context, st *stage, s settings, r *results) error {
	for _, mode := range s.modes {
		all := map[string][]float64{}
		for range s.runs {
			for _, w := range st.ways {
				prefix := filepath.Join(st.dir, "log")
				if _, _, err := pgbench(ctx, st, w, mode, 1, s.seconds, "-l", "--log-prefix="+prefix); err != nil {
					return err
				}
				files, err := filepath.Glob(prefix + ".*")
				if err != nil {
					return err
				}
				for _, f := range files {
					v, err := readLog(f)
					if err != nil {
						return err
					}
					all[w.name] = append(all[w.name], v...)
					os.Remove(f)
				}
			}
		}
		res := latencyResult{Mode: mode, P50: map[string]float64{}, P99: map[string]float64{}}
		for name, v := range all {
			slices.Sort(v)
			res.P50[name], res.P99[name] = v[len(v)/2], v[len(v)*99/100]
		}
		r.Latency = append(r.Latency, res)
	}
	return nil
}

// readLog gives the third field of each line: the transaction's microseconds.
func readLog(file string) ([]float64, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []float64
	s := bufio.NewScanner(f)
	for s.Scan() {
		fields := strings.Fields(s.Text())
		if len(fields) < 3 {
			continue
		}
		v, err := strconv.ParseFloat(fields[2], 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, v)
	}
	return out, s.Err()
}

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/doorward/doorward/e2e/harness"
	"github.com/doorward/doorward/e2e/kubetest"
)

// kubeResult is what a way to a cluster takes: the list of all pods, as the
// API's JSON read to its end and as kubectl shows it, and how much later than
// a direct watch its watch tells of a change.
type kubeResult struct {
	Way     string  `json:"way"`
	ListMS  float64 `json:"list_ms"`
	TableMS float64 `json:"kubectl_ms"`
	Late50  float64 `json:"watch_added_p50_ms"`
	Late99  float64 `json:"watch_added_p99_ms"`
}

const (
	kubePods    = 5000
	kubeChanges = 200
)

// kubeWays measures a cluster directly and through doorward, with and without
// masking.
func kubeWays(ctx context.Context, _ *stage, s settings, r *results) error {
	k, err := kubetest.Start(ctx, kubetest.Options{})
	if err != nil {
		return err
	}
	defer k.Stop()
	dir, err := os.MkdirTemp("", "doorward-bench-kube-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, k.CA, 0o600); err != nil {
		return err
	}
	if err := k.Namespace(ctx, "many"); err != nil {
		return err
	}
	if err := fill(ctx, k.Config()); err != nil {
		return err
	}
	at := harness.Cluster{Name: "plain", Address: strings.TrimPrefix(k.URL, "https://"), CA: ca, Token: k.AdminToken}
	masked := at
	masked.Name = "masked"
	g, err := harness.Start(ctx, &harness.Config{
		Wait: time.Second, Clusters: []harness.Cluster{at, masked},
		Users:   []harness.User{{Name: "ada", Password: password, Groups: []string{"engineers"}}},
		Rules:   []any{map[string]any{"name": "all", "targets": []string{"*"}, "then": "allow", "limits": map[string]any{"bytes": "16GiB", "time": "10m"}}},
		Masking: []any{map[string]any{"targets": []string{"masked"}, "detect": []string{"EMAIL", "CREDIT_CARD", "US_SSN", "IBAN", "SECRET"}, "operator": "redact"}},
	})
	if err != nil {
		return err
	}
	defer g.Close()
	person, err := g.SignIn(ctx, "ada")
	if err != nil {
		return err
	}
	through := func(name string) kubetest.Access {
		return kubetest.Access{Server: "https://" + g.Kubernetes + "/" + name, CA: g.CA, Token: person.Token, Namespace: "many"}
	}
	direct := k.Admin()
	direct.Namespace = "many"
	ways := []struct {
		name string
		a    kubetest.Access
	}{{"direct", direct}, {"doorward", through("plain")}, {"doorward, masked", through("masked")}}
	lists, tables := map[string][]float64{}, map[string][]float64{}
	for i := range s.runs + 1 { // the first warms up
		for _, w := range ways {
			ms, err := listAll(ctx, w.a.Config())
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			start := time.Now()
			res, err := w.a.Kubectl(ctx, "1.37", nil, "get", "pods", "--chunk-size=0")
			if err != nil || res.Status != 0 || strings.Count(res.Stdout, "\n") < kubePods {
				return fmt.Errorf("%s: kubectl: %w %d %s", w.name, err, res.Status, res.Stderr)
			}
			if i > 0 {
				lists[w.name] = append(lists[w.name], ms)
				tables[w.name] = append(tables[w.name], float64(time.Since(start).Microseconds())/1000)
			}
		}
	}
	for _, w := range ways {
		late, err := lateness(ctx, direct.Config(), w.a.Config())
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		r.Kubernetes = append(r.Kubernetes, kubeResult{w.name, median(lists[w.name]), median(tables[w.name]), late[len(late)/2], late[len(late)*99/100]})
	}
	return nil
}

// fill makes the pods. Nobody runs them: they ask for a scheduler that is not.
func fill(ctx context.Context, cfg *rest.Config) error {
	core, err := typed.NewForConfig(cfg)
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	failed := make(chan error, 8)
	next := make(chan int)
	for range 8 {
		all.Go(func() {
			for i := range next {
				p := &corev1.Pod{
					ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("orders-%04d", i), Labels: map[string]string{"app": "orders", "tier": "backend"}, Annotations: map[string]string{"team": "orders", "checksum/config": strings.Repeat("0123456789abcdef", 4)}},
					Spec: corev1.PodSpec{SchedulerName: "nobody", Containers: []corev1.Container{{Name: "main", Image: "registry.corp.example/orders/api:1.2.3", Command: []string{"/app/orders", "--listen", ":8080"},
						Env: []corev1.EnvVar{{Name: "DATABASE", Value: "orders"}, {Name: "REGION", Value: "eu-north-1"}, {Name: "OWNER", Value: "orders-team@corp.example"}}}}},
				}
				if _, err := core.Pods("many").Create(ctx, p, metav1.CreateOptions{}); err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			}
		})
	}
	for i := range kubePods {
		next <- i
	}
	close(next)
	all.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// listAll reads the list of all pods to its end, and gives the milliseconds.
func listAll(ctx context.Context, cfg *rest.Config) (float64, error) {
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return 0, err
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, cfg.Host+"/api/v1/namespaces/many/pods", nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept", "application/json")
	start := time.Now()
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	n, err := io.Copy(io.Discard, res.Body)
	if err == nil && (res.StatusCode != http.StatusOK || n < kubePods*1000) {
		err = fmt.Errorf("%s, %d bytes", res.Status, n)
	}
	return float64(time.Since(start).Microseconds()) / 1000, err
}

// lateness gives, for each of many changes, how many milliseconds later than a
// direct watch another watch tells of it, sorted.
func lateness(ctx context.Context, direct, other *rest.Config) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	core, err := typed.NewForConfig(direct)
	if err != nil {
		return nil, err
	}
	_ = core.ConfigMaps("many").Delete(ctx, "ticks", metav1.DeleteOptions{})
	m, err := core.ConfigMaps("many").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "ticks"}}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	seen := [2]map[string]time.Time{{}, {}}
	var all sync.WaitGroup
	for i, cfg := range []*rest.Config{direct, other} {
		c, err := typed.NewForConfig(cfg)
		if err != nil {
			return nil, err
		}
		w, err := c.ConfigMaps("many").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=ticks", ResourceVersion: m.ResourceVersion})
		if err != nil {
			return nil, err
		}
		defer w.Stop()
		all.Go(func() {
			for len(seen[i]) < kubeChanges {
				e, ok := <-w.ResultChan()
				if !ok {
					return
				}
				if e.Type == watch.Modified {
					seen[i][e.Object.(*corev1.ConfigMap).Data["n"]] = time.Now()
				}
			}
		})
	}
	for n := range kubeChanges {
		m.Data = map[string]string{"n": fmt.Sprint(n)}
		if m, err = core.ConfigMaps("many").Update(ctx, m, metav1.UpdateOptions{}); err != nil {
			return nil, err
		}
		time.Sleep(10 * time.Millisecond)
	}
	all.Wait()
	var late []float64
	for n, at := range seen[0] {
		if then, ok := seen[1][n]; ok {
			late = append(late, float64(then.Sub(at).Microseconds())/1000)
		}
	}
	if len(late) < kubeChanges {
		return nil, fmt.Errorf("only %d of %d changes were told", len(late), kubeChanges)
	}
	slices.Sort(late)
	return late, nil
}

package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// graceLimit is the longest that a pod's processes have to end by themselves:
// pods may ask for much more, for which tests should not wait.
const graceLimit = time.Second

// pod is a pod on this node. Its worker is the only one to start and to stop
// its containers.
type pod struct {
	k       *Kubelet
	uid     types.UID
	dir     string
	address string
	started metav1.Time
	wake    chan struct{}
	done    chan struct{} // closed when nothing of it is left

	mu         sync.Mutex
	spec       *corev1.Pod // as last seen
	gone       bool        // the API has it no more
	containers map[string]*container

	volumes  map[string]string // nil: not there yet
	waiting  string            // why nothing could be started
	reported *corev1.PodStatus
}

func (p *pod) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *pod) seen(spec *corev1.Pod, gone bool) {
	p.mu.Lock()
	p.spec, p.gone = spec, p.gone || gone
	p.mu.Unlock()
	p.nudge()
}

// latest gives the pod as last seen.
func (p *pod) latest() (*corev1.Pod, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.spec, p.gone
}

// container gives one by its name.
func (p *pod) container(name string) *container {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.containers[name]
}

// work runs the pod until it is gone or the kubelet stops.
func (p *pod) work(ctx context.Context) {
	defer close(p.done)
	defer os.RemoveAll(p.dir)
	defer p.stop(0)
	for {
		spec, gone := p.latest()
		if gone {
			return
		}
		if spec.DeletionTimestamp != nil {
			p.remove(ctx, spec)
			return
		}
		next := p.sync(ctx, spec)
		p.report(ctx, spec)
		var timer <-chan time.Time
		if next > 0 {
			timer = time.After(next)
		}
		select {
		case <-p.wake:
		case <-timer:
		case <-ctx.Done():
			return
		}
	}
}

// stop ends all containers.
func (p *pod) stop(grace time.Duration) {
	p.mu.Lock()
	var wg sync.WaitGroup
	for _, c := range p.containers {
		wg.Go(func() { c.stop(grace) })
	}
	p.mu.Unlock()
	wg.Wait()
}

// remove ends a pod that is to be deleted, and says so to the API server.
func (p *pod) remove(ctx context.Context, spec *corev1.Pod) {
	grace := graceLimit
	if s := spec.DeletionGracePeriodSeconds; s != nil {
		grace = min(grace, time.Duration(*s)*time.Second)
	}
	p.stop(grace)
	p.report(ctx, spec)
	for range 20 {
		err := p.k.core.Pods(spec.Namespace).Delete(ctx, spec.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64), Preconditions: metav1.NewUIDPreconditions(string(spec.UID))})
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) || ctx.Err() != nil {
			return
		}
		p.k.complain("delete pod %s/%s: %v", spec.Namespace, spec.Name, err)
		time.Sleep(250 * time.Millisecond)
	}
}

// get gives the container of that spec, which it makes at first sight.
func (p *pod) get(spec corev1.Container) *container {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.containers[spec.Name]
	if c == nil {
		c = &container{spec: spec, dir: filepath.Join(p.dir, "containers", spec.Name)}
		p.containers[spec.Name] = c
	}
	return c
}

// sync starts what is to run and does not, and gives when to look again; 0
// means at the next change.
func (p *pod) sync(ctx context.Context, spec *corev1.Pod) time.Duration {
	const soon = 500 * time.Millisecond
	if p.volumes == nil {
		v, err := p.k.volumes(ctx, spec, filepath.Join(p.dir, "volumes"))
		if err != nil {
			p.waiting = err.Error()
			return soon
		}
		p.volumes, p.waiting = v, ""
	}
	for _, spec0 := range spec.Spec.InitContainers {
		c := p.get(spec0)
		policy := spec.Spec.RestartPolicy
		sidecar := spec0.RestartPolicy != nil && *spec0.RestartPolicy == corev1.ContainerRestartPolicyAlways
		if sidecar {
			policy = corev1.RestartPolicyAlways
		} else if policy == corev1.RestartPolicyAlways {
			policy = corev1.RestartPolicyOnFailure
		}
		next, ok := p.keep(ctx, spec, c, policy)
		if !ok {
			return next
		}
		if code, ended := c.code(); !sidecar && (!ended || code != 0) {
			return next
		}
	}
	var soonest time.Duration
	sooner := func(d time.Duration) {
		if d > 0 && (soonest == 0 || d < soonest) {
			soonest = d
		}
	}
	for _, spec0 := range spec.Spec.Containers {
		next, _ := p.keep(ctx, spec, p.get(spec0), spec.Spec.RestartPolicy)
		sooner(next)
	}
	for _, e := range spec.Spec.EphemeralContainers {
		next, _ := p.keep(ctx, spec, p.get(corev1.Container(e.EphemeralContainerCommon)), corev1.RestartPolicyNever)
		sooner(next)
	}
	return soonest
}

// keep has a container run as the policy says. It reports false while the
// container could not be started, and when to look again.
func (p *pod) keep(ctx context.Context, spec *corev1.Pod, c *container, policy corev1.RestartPolicy) (time.Duration, bool) {
	const soon = 500 * time.Millisecond
	if code, ended := c.code(); ended {
		if policy == corev1.RestartPolicyNever || policy == corev1.RestartPolicyOnFailure && code == 0 {
			return 0, true
		}
		if left := c.wait(); left > 0 {
			return left, true
		}
		c.restart()
	} else if c.isRunning() != nil || c.begun() {
		return 0, true
	}
	with := spec.DeepCopy()
	with.Status.PodIP, with.Status.HostIP = p.address, p.k.address
	env, err := p.k.environment(ctx, with, c.spec)
	if err != nil {
		p.waiting = err.Error()
		return soon, false
	}
	pl := plan{id: p.id(c), host: spec.Name, address: p.address, env: env}
	for _, m := range c.spec.VolumeMounts {
		if source := p.volumes[m.Name]; source != "" {
			pl.mounts = append(pl.mounts, mount{filepath.Join(source, filepath.Join("/", m.SubPath)), m.MountPath, m.ReadOnly})
		}
	}
	if err := c.start(pl, p.nudge); err != nil {
		p.waiting = err.Error()
		p.k.complain("start container %s of pod %s/%s: %v", c.spec.Name, spec.Namespace, spec.Name, err)
		return soon, false
	}
	p.waiting = ""
	return 0, true
}

func (p *pod) id(c *container) string {
	return fmt.Sprintf("process://%s/%s/%d", p.uid, c.spec.Name, c.restarts)
}

// report sends the status where it has changed.
func (p *pod) report(ctx context.Context, spec *corev1.Pod) {
	s := p.status(spec)
	if p.reported != nil && reflect.DeepEqual(*p.reported, s) {
		return
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": spec.UID}, "status": s})
	if err != nil {
		p.k.complain("status of pod %s/%s: %v", spec.Namespace, spec.Name, err)
		return
	}
	if _, err := p.k.core.Pods(spec.Namespace).Patch(ctx, spec.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		if !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
			p.k.complain("status of pod %s/%s: %v", spec.Namespace, spec.Name, err)
			time.AfterFunc(500*time.Millisecond, p.nudge)
		}
		return
	}
	p.reported = &s
}

func (p *pod) status(spec *corev1.Pod) corev1.PodStatus {
	s := corev1.PodStatus{HostIP: p.k.address, HostIPs: []corev1.HostIP{{IP: p.k.address}}, PodIP: p.address, PodIPs: []corev1.PodIP{{IP: p.address}}, StartTime: &p.started, QOSClass: spec.Status.QOSClass, Message: p.waiting}
	initialized, ready, running, failed := true, true, false, false
	for _, c := range spec.Spec.InitContainers {
		st := p.get(c).status(p.id(p.get(c)))
		if t := st.State.Terminated; t != nil {
			st.Ready = t.ExitCode == 0
			failed = failed || t.ExitCode != 0 && spec.Spec.RestartPolicy == corev1.RestartPolicyNever
		}
		initialized = initialized && st.Ready
		s.InitContainerStatuses = append(s.InitContainerStatuses, st)
	}
	ended := initialized
	for _, c := range spec.Spec.Containers {
		st := p.get(c).status(p.id(p.get(c)))
		if p.waiting != "" && st.State.Waiting != nil {
			st.State.Waiting.Message = p.waiting
		}
		ready = ready && st.Ready
		running = running || st.State.Running != nil
		switch t := st.State.Terminated; {
		case t == nil:
			ended = false
		case spec.Spec.RestartPolicy == corev1.RestartPolicyAlways, spec.Spec.RestartPolicy == corev1.RestartPolicyOnFailure && t.ExitCode != 0:
			if spec.DeletionTimestamp == nil {
				ended = false
				running = true
			}
		}
		if t := st.State.Terminated; t != nil && t.ExitCode != 0 {
			failed = true
		}
		s.ContainerStatuses = append(s.ContainerStatuses, st)
	}
	for _, e := range spec.Spec.EphemeralContainers {
		c := p.get(corev1.Container(e.EphemeralContainerCommon))
		st := c.status(p.id(c))
		st.Ready = false
		s.EphemeralContainerStatuses = append(s.EphemeralContainerStatuses, st)
	}
	noRetry := spec.Spec.RestartPolicy == corev1.RestartPolicyNever
	switch {
	case ended && failed, !initialized && failed && noRetry:
		s.Phase = corev1.PodFailed
	case ended && len(spec.Spec.Containers) > 0:
		s.Phase = corev1.PodSucceeded
	case running:
		s.Phase = corev1.PodRunning
	default:
		s.Phase = corev1.PodPending
	}
	// What others say of the pod stays: the list is replaced as a whole.
	own := map[corev1.PodConditionType]bool{corev1.PodInitialized: initialized, corev1.PodReady: initialized && ready, corev1.ContainersReady: initialized && ready, corev1.PodScheduled: true}
	before := map[corev1.PodConditionType]corev1.PodCondition{}
	for _, c := range spec.Status.Conditions {
		before[c.Type] = c
		if _, ours := own[c.Type]; !ours {
			s.Conditions = append(s.Conditions, c)
		}
	}
	if p.reported != nil {
		for _, c := range p.reported.Conditions {
			before[c.Type] = c
		}
	}
	for _, t := range []corev1.PodConditionType{corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled} {
		c := corev1.PodCondition{Type: t, Status: corev1.ConditionFalse, LastTransitionTime: metav1.Now()}
		if own[t] {
			c.Status = corev1.ConditionTrue
		}
		if b := before[t]; b.Status == c.Status {
			c.LastTransitionTime = b.LastTransitionTime
		}
		s.Conditions = append(s.Conditions, c)
	}
	return s
}

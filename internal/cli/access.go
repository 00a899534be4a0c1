package cli

import (
	"fmt"
	"net/http"

	"github.com/doorward/doorward/internal/api"
)

// AccessCmd groups what administrators do about people's access.
type AccessCmd struct {
	End AccessEndCmd `cmd:"" help:"End all access that somebody and their agents have now."`
}

// AccessEndCmd ends a subject's access.
type AccessEndCmd struct {
	Subject string `arg:"" help:"Whose: provider:subject, as the identity in sessions show --json has it."`
	Reason  string `required:"" help:"Why, for the record." placeholder:"TEXT"`
	JSONFlag
}

// Help is shown by --help.
func (*AccessEndCmd) Help() string {
	return "Example:\n  doorward access end corp:00u1 --reason 'laptop stolen'\n\nFor administrators. Sign-ins, console sessions, runs of agents and open sessions end at once. Who can still sign in at the identity provider can come back: take them out there first."
}

// Run ends it.
func (k *AccessEndCmd) Run(env *Env) error {
	ctx, stop := interruptible()
	defer stop()
	c, err := signedIn()
	if err != nil {
		return err
	}
	if err := c.call(ctx, http.MethodPost, "/api/v1/access/end", api.AccessEnd{Subject: k.Subject, Reason: k.Reason}, nil); err != nil {
		return err
	}
	if k.JSON {
		return printJSON(env.Stdout, map[string]any{"ended": k.Subject})
	}
	fmt.Fprintf(env.Stdout, "All access that %s had is ended.\n", cleanLine(k.Subject))
	return nil
}

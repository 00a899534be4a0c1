import { Component, type ReactNode } from "react";

/** The last stop for faults of the console itself. */
export class Boundary extends Component<{ children: ReactNode }, { error?: Error }> {
  override state: { error?: Error } = {};

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render() {
    if (!this.state.error) return this.props.children;
    return (
      <main className="alone">
        <div className="box box-bad" role="alert">
          <div>
            <strong>The console has a fault and stopped.</strong>
            <p>Nothing was approved or denied by this. The doorward command can do everything that this page can.</p>
            <p className="dim mono">{this.state.error.message.slice(0, 500)}</p>
            <button type="button" className="button" onClick={() => location.reload()}>
              Load the page again
            </button>
          </div>
        </div>
      </main>
    );
  }
}

// Command demo plays the main job on a private PostgreSQL with the real
// doorward binary and real clients: a masked read, a refused DROP, an UPDATE
// that waits for a person, the replay and the proof.
//
// It claims nothing that it does not check: when a step does not go as said,
// it says so and ends with an error. With CI=1 it asks no questions.
package main

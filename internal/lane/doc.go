// Package lane keeps the sessions of one client's connection where the protocol
// is HTTP: a session of the gate serves one request at a time, and a connection
// may have many open at once, for several targets and tokens. A lane is a session
// with the end that its answers are released to; free ones are used again. What a
// denial is in HTTP stands here too.
package lane

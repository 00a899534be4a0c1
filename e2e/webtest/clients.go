package webtest

import _ "embed"

// Fetch is a program for Node, and Urllib one for Python: they go through the
// service at $BASE with the credential $TOKEN and print "ok" and a line for each
// thing that worked, or fail. $CA is the PEM file that Urllib trusts.
var (
	//go:embed fetch.mjs
	Fetch string
	//go:embed urllib.py
	Urllib string
)

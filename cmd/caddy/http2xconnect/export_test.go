package http2xconnect

// Extend is for the tests, which live in a package of their own: what they
// import must not be imported by this one.
var Extend = extend

//! Tests of the whole of SRTP.

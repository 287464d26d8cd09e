// SPDX-License-Identifier: GPL-2.0-only

//! Tests of the packet on the wire: against captures, against properties, against hostile bytes.

mod corpus;
mod csv;
mod goldens;
mod properties;
mod refusals;
mod samples;
mod tables;

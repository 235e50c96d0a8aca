"""Everything on one machine: the processes, a cast of users, the pilot's job."""

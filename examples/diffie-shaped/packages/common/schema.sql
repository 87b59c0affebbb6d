create table if not exists users (
  email text primary key,
  password_hash text not null
);
create table if not exists sessions (
  token text primary key,
  email text not null references users on delete cascade,
  expires_at timestamptz not null default now() + interval '30 days'
);
create table if not exists projects (
  id bigint generated always as identity primary key,
  name text not null,
  address text not null,
  status text not null default 'waiting' check (status in ('waiting', 'passed', 'failed')),
  detail text not null default '',
  created_by text not null references users,
  created_at timestamptz not null default now()
);

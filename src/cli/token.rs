//! `klankbord token`: makes a bearer token, and the line that lets it in. Depends on `crate::bearer`.

use crate::bearer;

/// Make a bearer token for a caller.
#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    /// Name of the caller, as the log is to show it; one word.
    #[arg(value_parser = name)]
    pub name: String,
    /// Most messages a second that the caller may send.
    #[arg(long, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,
}

fn name(text: &str) -> Result<String, &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match !text.is_empty() && text.len() <= 64 && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err("a name has at most 64 letters, digits, `-`, `_` and `.`"),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| bearer::RATES.contains(rate));
    rate.ok_or_else(|| {
        format!("a rate is from {} to {}", bearer::RATES.start(), bearer::RATES.end())
    })
}

/// Prints token and line.
///
/// # Errors
/// Where the system has no random bytes.
pub fn run(args: &TokenArgs) -> std::io::Result<()> {
    let (token, line) = bearer::new_token(&args.name)?;
    let rate = args.rate.map(|rate| format!(" {rate}")).unwrap_or_default();
    println!("token for the caller, shown only now:\n{token}");
    println!("line for the file of tokens:\n{line}{rate}");
    Ok(())
}

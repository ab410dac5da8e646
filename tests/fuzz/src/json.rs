//! JSON (RFC 8259), a byte at a time. It keeps how everything was written.

/// How deep arrays and objects may stand in each other: a choice that §9 allows.
const DEPTH_MAX: usize = 127;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    String(String),
    /// As it was written, and about how much it is.
    Number(String, f64),
    Array(Vec<Value>),
    Object(Vec<Member>),
    /// `true`, `false` or `null`.
    Word(&'static str),
}

/// A member of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub name: String,
    pub value: Value,
    /// The value as it was written.
    pub raw: String,
}

/// Reads a whole text.
pub fn parse(text: &str) -> Option<Value> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.white_space();
    (reader.at == text.len()).then_some(value)
}

impl Value {
    pub fn members(&self) -> Option<&[Member]> {
        if let Value::Object(members) = self { Some(members) } else { None }
    }

    /// The member of that name; of several the last (RFC 7519 §4).
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.members()?.iter().rfind(|member| member.name == name).map(|member| &member.value)
    }

    pub fn string(&self) -> Option<&str> {
        if let Value::String(text) = self { Some(text) } else { None }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes over `word` if it comes next.
    fn take(&mut self, word: &str) -> bool {
        let takes = self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        self.at += if takes { word.len() } else { 0 };
        takes
    }

    fn white_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        self.white_space();
        match self.peek()? {
            b'"' => self.string().map(Value::String),
            b'[' => self.array(depth + 1),
            b'{' => self.object(depth + 1),
            b'-' | b'0'..=b'9' => self.number(),
            _ => ["true", "false", "null"].into_iter().find(|word| self.take(word)).map(Value::Word),
        }
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        let mut values = Vec::new();
        self.list("[", "]", depth, |reader| {
            values.push(reader.value(depth)?);
            Some(())
        })?;
        Some(Value::Array(values))
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        let mut members = Vec::new();
        self.list("{", "}", depth, |reader| {
            reader.white_space();
            let name = reader.string()?;
            reader.white_space();
            reader.take(":").then_some(())?;
            reader.white_space();
            let start = reader.at;
            let value = reader.value(depth)?;
            members.push(Member { name, value, raw: reader.text[start..reader.at].to_owned() });
            Some(())
        })?;
        Some(Value::Object(members))
    }

    fn list(
        &mut self,
        open: &str,
        close: &str,
        depth: usize,
        mut item: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        if !self.take(open) || depth > DEPTH_MAX {
            return None;
        }
        self.white_space();
        if self.take(close) {
            return Some(());
        }
        loop {
            item(self)?;
            self.white_space();
            if self.take(close) {
                return Some(());
            }
            self.take(",").then_some(())?;
        }
    }

    /// §6.
    fn number(&mut self) -> Option<Value> {
        let start = self.at;
        self.take("-");
        if !self.take("0") {
            self.digits()?;
        }
        if self.take(".") {
            self.digits()?;
        }
        if self.take("e") || self.take("E") {
            let _ = self.take("+") || self.take("-");
            self.digits()?;
        }
        let raw = &self.text[start..self.at];
        let size = raw.parse::<f64>().ok().filter(|size| size.is_finite())?;
        Some(Value::Number(raw.to_owned(), size))
    }

    /// At least one.
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    /// §7.
    fn string(&mut self) -> Option<String> {
        self.take("\"").then_some(())?;
        let mut text = String::new();
        loop {
            let next = self.text[self.at..].chars().next()?;
            self.at += next.len_utf8();
            match next {
                '"' => return Some(text),
                '\\' => text.push(self.escape()?),
                '\0'..' ' => return None,
                next => text.push(next),
            }
        }
    }

    /// §7, with the halves of a surrogate pair in order (§8.2).
    fn escape(&mut self) -> Option<char> {
        let escape = self.peek()?;
        self.at += 1;
        Some(match escape {
            b'"' | b'\\' | b'/' => char::from(escape),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let mut units = vec![self.unit()?];
                if (0xd800..0xdc00).contains(&units[0]) {
                    self.take("\\u").then_some(())?;
                    units.push(self.unit()?);
                }
                let mut characters = char::decode_utf16(units);
                characters.next()?.ok().filter(|_| characters.next().is_none())?
            }
            _ => return None,
        })
    }

    fn unit(&mut self) -> Option<u16> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.chars().try_fold(0, |unit, digit| Some(unit << 4 | digit.to_digit(16)? as u16))
    }
}
